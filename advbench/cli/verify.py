"""`advbench verify`: every claim of a run, recomputed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advbench.cli import panels
from advbench.cli.options import DATA_FORM, ToStdout, Weights
from advbench.cli.panels import argument, option
from advbench.core.errors import InvalidEvaluation


def verify(
    run: Annotated[Path, argument(panels.RUNS, "RUN", "Run directory that `advbench attack --out` wrote.")],
    model: Annotated[
        str | None, option(panels.MODEL, "MODEL", "Model that was attacked; needed if it is your own code.")
    ] = None,
    weights: Weights = None,
    data: Annotated[
        str | None, option(panels.DATA, DATA_FORM, "Data that was attacked; needed if your own code makes it.")
    ] = None,
    json: ToStdout = False,
) -> None:
    """Recompute every claim of a run from its stored images, by separate code.

    Exits with 3 if a claim fails.
    """
    from advbench.api.runtime import prepare

    prepare()
    from advbench.api.verifying import verify as check

    found = check(run, model=model, data=data, weights=weights)
    if json:
        from json import dumps

        claims = {claim.name: claim.failures for claim in found.claims}
        typer.echo(dumps({"verified": not found.failures, "claims": claims, "ties": found.ties}, indent=1))
    else:
        for claim in found.claims:
            typer.echo(f"{'FAIL' if claim.failures else 'ok  '}  {claim.name}")
            for failure in claim.failures:
                typer.echo(f"      {failure}")
        if found.ties:
            typer.echo(f"{found.ties} predictions are ties within rounding and were accepted")
    if found.failures:
        failed = sum(bool(claim.failures) for claim in found.claims)
        raise InvalidEvaluation(f"{failed} of {len(found.claims)} claims of {run} do not hold")
