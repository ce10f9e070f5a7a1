"""`advbench certify`: certified accuracy of a model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from advbench.cli import panels
from advbench.cli.groups import expanded, settings_of
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
)
from advbench.cli.panels import SPEC, option


class How(StrEnum):
    """Methods of certification."""

    crown = "crown"
    crown_ibp = "crown-ibp"
    ibp = "ibp"
    smoothing = "smoothing"


@expanded
def certify(
    model: Model,
    data: Data = None,
    method: Annotated[
        How,
        option(
            panels.METHOD,
            "crown|crown-ibp|ibp|smoothing",
            "Method: crown has the tightest bounds, ibp is the cheapest, smoothing serves any model, in L2.",
        ),
    ] = How.crown,
    norm: Norm = None,
    eps: Eps = None,
    n: Number = None,
    indices: Indices = None,
    attacks: Annotated[
        list[str] | None,
        option(panels.ATTACKS, SPEC, "Attack the same images too. Repeat for more attacks.", "--attack"),
    ] = None,
    run: Annotated[
        Path | None,
        option(panels.ATTACKS, "DIR", "Compare with a run of `advbench attack --out`, image by image."),
    ] = None,
    sigma: Annotated[
        float, option(panels.METHOD, "SIGMA", "Smoothing: standard deviation of the noise, for pixels in [0, 1].")
    ] = 0.25,
    samples: Annotated[int, option(panels.METHOD, "N", "Smoothing: draws for each image.", min=1)] = 100_000,
    selection: Annotated[int, option(panels.METHOD, "N", "Smoothing: draws that select the class.", min=1)] = 100,
    alpha: Annotated[float, option(panels.METHOD, "ALPHA", "Smoothing: probability that a radius is wrong.")] = 0.001,
    *,
    outputs: Outputs,
    files: Files,
    fixed: Fixed,
    written: Written,
) -> None:
    """Prove for how many images no attack within the threat model can succeed."""
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
