"""`advbench certify`: how robust a model provably is."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advbench.cli.options import (
    BatchSize,
    Classes,
    Crop,
    Data,
    Eps,
    ExtraOutputs,
    Indices,
    Interpolation,
    Json,
    LogitsName,
    Markdown,
    Model,
    Norm,
    Number,
    Resize,
    Seed,
    SkipCorrupt,
    Transparent,
)
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.certification import Smoothing
    from advbench.cli.evaluating import Job, Request
    from advbench.evaluation import Result


class How(StrEnum):
    """Ways to certify."""

    crown = "crown"
    crown_ibp = "crown-ibp"
    ibp = "ibp"
    smoothing = "smoothing"


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
    allow_extra_outputs: ExtraOutputs = False,
    classes: Classes = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    logits: LogitsName = None,
    resize: Resize = None,
    skip_corrupt: SkipCorrupt = False,
    transparent: Transparent = None,
    seed: Seed = 0,
    batch_size: BatchSize = 128,
    json: Json = None,
    markdown: Markdown = None,
) -> None:
    """Prove how many images no attack can break, and print it beside what attacks do break."""
    from advbench.cli import output
    from advbench.cli.runtime import prepare

    output.check(json, markdown)
    if run and attacks:
        raise UsageError("give --attack or --run, not both")
    if method is How.smoothing and (run or attacks):
        raise UsageError("an attack on the model says nothing of its smoothed classifier: leave --attack and --run out")
    prepare()
    from advbench.certification import certify as prove
    from advbench.cli.evaluating import Request, refuse_invalid
    from advbench.data import Reading
    from advbench.evaluation import Result
    from advbench.reports.certificate import of_certificate

    joined = Result.load(run) if run else None
    if joined:
        norm, eps = norm or joined.threat.norm, eps or joined.threat.eps
    outputs: dict[str, Any] = {"logits": logits, "extra_outputs": allow_extra_outputs}
    reading = Reading.parse(resize, crop, interpolation, classes, transparent, skip_corrupt)
    request = Request(data, attacks, norm, eps, n, indices, seed, batch_size, False, False, reading=reading, **outputs)
    job = _job(model, request, joined)
    how: Any = _smoothing(sigma, samples, selection, alpha) if method is How.smoothing else method.value

    def tell(done: int, total: int) -> None:
        if done == total or done % max(1, total // 10) == 0:
            typer.echo(f"{job.model.name}: {done} of {total} images", err=True)

    certificate = prove(
        job.model,
        job.data,
        job.indices,
        job.threats[0],
        how,
        seed=seed,
        batch_size=batch_size,
        tell=tell,
        allow_extra_outputs=allow_extra_outputs,
    )
    if attacks:
        joined = job.run(None, each=False)[0]
    if joined:
        certificate = certificate.joined(joined)
    output.show(of_certificate(certificate), certificate.to_json(), json, markdown)
    refuse_invalid(certificate.flags)


def _job(model: str, request: Request, joined: Result | None) -> Job:
    """The model, images and threat; the images of the run to join, unless told otherwise."""
    from advbench.cli.evaluating import Job

    whole = joined and not (request.n or request.indices)
    if joined:
        request = replace(request, **_same(joined, request))
    job = Job.of(model, request)
    if len(job.threats) > 1:
        raise UsageError("certify takes one --eps")
    if joined and whole:
        indices = [row.index for row in joined.rows]
        job.data.require(max(indices) + 1)
        return replace(job, indices=indices)
    return job


def _same(joined: Result, request: Request) -> dict[str, Any]:
    """The data of a run, read as they were, where nothing else was typed."""
    from advbench.data import DATASETS, Reading

    if request.data is not None:
        return {}
    own = joined.data.name not in DATASETS
    how = request.reading or Reading.of(joined.data.reading)
    return {"data": joined.data.source if own else joined.data.name, "reading": how if own else request.reading}


def _smoothing(sigma: float, samples: int, selection: int, alpha: float) -> Smoothing:
    from advbench.certification import Smoothing

    if not sigma > 0 or not 0 < alpha < 0.5:
        raise UsageError("smoothing needs a sigma above 0 and an alpha between 0 and 0.5")
    return Smoothing(sigma=sigma, samples=samples, selection=selection, alpha=alpha)
