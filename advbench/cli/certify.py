"""`advbench certify`: how robust a model provably is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from advbench.cli.options import (
    Data,
    Eps,
    Files,
    Fixed,
    Indices,
    Model,
    Norm,
    Number,
    Outputs,
    Written,
    expanded,
    settings_of,
)


class How(StrEnum):
    """Ways to certify."""

    crown = "crown"
    crown_ibp = "crown-ibp"
    ibp = "ibp"
    smoothing = "smoothing"


@expanded
def certify(
    model: Model,
    data: Data = None,
    method: Annotated[
        How, typer.Option(help="crown is tightest, ibp cheapest; smoothing takes any model.")
    ] = How.crown,
    norm: Norm = None,
    eps: Eps = None,
    n: Number = None,
    indices: Indices = None,
    attacks: Annotated[
        list[str] | None, typer.Option("--attack", help="Attack the same images too. Repeat it for more.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run of `advbench attack --out` to join, image by image.")] = None,
    sigma: Annotated[float, typer.Option(help="Smoothing: deviation of the noise, white being 1.")] = 0.25,
    samples: Annotated[int, typer.Option(min=1, help="Smoothing: draws an image.")] = 100_000,
    selection: Annotated[int, typer.Option(min=1, help="Smoothing: draws that select the class.")] = 100,
    alpha: Annotated[float, typer.Option(help="Smoothing: chance that a radius is wrong.")] = 0.001,
    *,
    outputs: Outputs,
    files: Files,
    fixed: Fixed,
    written: Written,
) -> None:
    """Prove how many images no attack can break, and print it beside what attacks do break."""
    from advbench.api.certifying import Method, Proof
    from advbench.api.outcome import refuse_invalid
    from advbench.api.runtime import prepare
    from advbench.api.settings import Settings
    from advbench.cli import output
    from advbench.cli.running import run_job, typed
    from advbench.reports.certificate import of_certificate

    output.check(written.json, written.markdown)
    prepare()
    own = {"norm": norm, "eps": eps, "n": n, "indices": indices, "attacks": attacks}
    settings = Settings(**settings_of(outputs, files, fixed, notify=output.say, command=typed(), **own))
    how = Method(name=method.value, sigma=sigma, samples=samples, selection=selection, alpha=alpha)
    proof = Proof.of(model, data, settings, how, run)

    def tell(name: str, done: int, total: int) -> None:
        if done == total or done % max(1, total // 10) == 0:
            typer.echo(f"{name}: {done} of {total} images", err=True)

    found = proof.joined(proof(tell), (lambda: run_job(proof.job, None)) if attacks else None)
    output.show(of_certificate(found), found.to_json(), written.json, written.markdown)
    refuse_invalid(found.flags)
