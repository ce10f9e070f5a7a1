"""`advbench verify`: whether what a run says is true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advbench.cli.options import Weights
from advbench.core.errors import InvalidEvaluation


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of `advbench attack --out`.")],
    model: Annotated[str | None, typer.Option(help="The model attacked; needed where it is the user's code.")] = None,
    weights: Weights = None,
    data: Annotated[str | None, typer.Option(help="The data attacked; needed where code makes them.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, to stdout.")] = False,
) -> None:
    """Recompute every claim of a run from its stored images, on a code path of its own.

    Exits with 3 when a claim fails.
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
            typer.echo(f"{found.ties} predictions were ties within rounding and let pass")
    if found.failures:
        failed = sum(bool(claim.failures) for claim in found.claims)
        raise InvalidEvaluation(f"{failed} of {len(found.claims)} claims of {run} do not hold")
