"""`advbench bench`: one table, models down, attacks across."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from advbench.cli.options import (
    Adaptive,
    Attacks,
    BatchSize,
    Budget,
    Checks,
    Classes,
    Crop,
    Data,
    Depth,
    Eot,
    Eps,
    ExtraOutputs,
    Force,
    Indices,
    InputLayout,
    Interpolation,
    Json,
    LogitsName,
    Markdown,
    Mean,
    Norm,
    Number,
    Out,
    QueryBudget,
    Resize,
    Resume,
    Seed,
    SkipCorrupt,
    Std,
    Transparent,
    Wrap,
)
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.cli.evaluating import Job, Request


def bench(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Each as for `advbench attack`.")],
    data: Data = None,
    attacks: Attacks = None,
    norm: Norm = None,
    eps: Eps = None,
    n: Number = None,
    indices: Indices = None,
    input_layout: InputLayout = None,
    mean: Mean = None,
    std: Std = None,
    logits: LogitsName = None,
    allow_extra_outputs: ExtraOutputs = False,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    classes: Classes = None,
    transparent: Transparent = None,
    skip_corrupt: SkipCorrupt = False,
    seed: Seed = 0,
    batch_size: BatchSize = 128,
    out: Out = None,
    resume: Resume = False,
    force: Force = False,
    checks: Checks = Depth.fast,
    budget: Budget = None,
    eot: Eot = None,
    query_budget: QueryBudget = None,
    wrap: Wrap = None,
    adaptive: Adaptive = True,
    json: Json = None,
    markdown: Markdown = None,
) -> None:
    """Attack several models on the same images, every attack on its own, and print one table."""
    from advbench.cli import output
    from advbench.cli.evaluating import Request, conclude
    from advbench.cli.runtime import prepare
    from advbench.reports import sheet

    output.check(json, markdown)
    if "," in (eps or ""):
        raise UsageError("bench compares models at one eps; for several, `advbench attack --eps 2/255,4/255`")
    if resume and not out:
        raise UsageError("--resume needs the run directory: --out DIR")
    prepare()
    from advbench.core.preprocess import Preprocess
    from advbench.data import Reading

    request = Request(
        data,
        attacks,
        norm,
        eps,
        n,
        indices,
        seed,
        batch_size,
        resume,
        force,
        budget,
        eot,
        checks=checks.value,
        preprocess=Preprocess.parse(input_layout, mean, std),
        reading=Reading.parse(resize, crop, interpolation, classes, transparent, skip_corrupt),
        queries=query_budget,
        wrap=wrap,
        adaptive=adaptive,
        logits=logits,
        extra_outputs=allow_extra_outputs,
    )
    jobs = [_job(model, request) for model in models]
    _comparable(jobs)
    short = [job.model.name for job in jobs]
    names = short if len(set(short)) == len(short) else models
    results = []
    for job, name in zip(jobs, names, strict=True):
        folder = out / re.sub(r"[^\w.-]+", "_", name) if out else None
        results += job.run(folder, each=True)
    output.show(sheet.of_models(results, names), output.array(results), json, markdown)
    conclude(results)


def _job(spec: str, request: Request) -> Job:
    """What was declared of pixels is for those models that don't say it themselves."""
    from advbench.cli.evaluating import Job
    from advbench.core.preprocess import OwnPreprocessing

    try:
        return Job.of(spec, request)
    except OwnPreprocessing:
        return Job.of(spec, replace(request, preprocess=None))


def _comparable(jobs: list[Job]) -> None:
    """Refuse to put numbers side by side that were taken on other images or under another threat."""
    for what, option, seen in (
        ("data sets", "--data", [job.data.name for job in jobs]),
        ("threats", "--norm and --eps", [str(job.threats[0]) for job in jobs]),
    ):
        if len(set(seen)) > 1:
            raise UsageError(f"these models were made for different {what} ({', '.join(seen)}); choose one by {option}")
