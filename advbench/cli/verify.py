"""`advbench verify`: whether what a run says is true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advbench.cli.options import Weights
from advbench.core.errors import InvalidEvaluation, UsageError


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
    from advbench.core.preprocess import Preprocess
    from advbench.data import Reading, again, load
    from advbench.evaluation import Result
    from advbench.evaluation import verify as check
    from advbench.models.load import load_model
    from advbench.remote import is_target
    from advbench.wrappers import wrapped_as_in

    result = Result.load(run)
    attacked = result.model
    source = model or attacked.source
    if model is None and (":" in source or is_target(source)):
        what = f"the model of {run} is code or a URL, which verifying uses"
        raise UsageError(f"{what}: if you trust it, add --model {source}")
    about = result.data
    if data is None:
        images = again(about.name, about.source, about.split, about.reading)
    else:
        images = load(data, about.split, reading=Reading.of(about.reading))
    bare = load_model(source, Preprocess.of(attacked.preprocess), weights)
    found = check(run, model=wrapped_as_in(result.model.record, bare, images.shape), data=images)
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
