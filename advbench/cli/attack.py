"""`advbench attack`: how robust a model is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
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
    EpsList,
    ExpectClean,
    ExtraOutputs,
    Force,
    Indices,
    InputLayout,
    Interpolation,
    Json,
    LogitsName,
    Markdown,
    Mean,
    Model,
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
    Weights,
    Wrap,
)
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.cli.evaluating import Job
    from advbench.evaluation import Result


def attack(
    model: Model,
    data: Data = None,
    attacks: Attacks = None,
    norm: Norm = None,
    eps: EpsList = None,
    n: Number = None,
    indices: Indices = None,
    input_layout: InputLayout = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    classes: Classes = None,
    transparent: Transparent = None,
    skip_corrupt: SkipCorrupt = False,
    weights: Weights = None,
    expect_clean: ExpectClean = None,
    logits: LogitsName = None,
    allow_extra_outputs: ExtraOutputs = False,
    seed: Seed = 0,
    batch_size: BatchSize = 128,
    out: Out = None,
    resume: Resume = False,
    each: Annotated[bool, typer.Option("--each", help="Let every attack try every image, to compare attacks.")] = False,
    force: Force = False,
    checks: Checks = Depth.fast,
    budget: Budget = None,
    query_budget: QueryBudget = None,
    eot: Eot = None,
    wrap: Wrap = None,
    adaptive: Adaptive = True,
    doublings: Annotated[
        int,
        typer.Option(min=0, max=9, help="How often an attack that has not converged may double steps, or restarts."),
    ] = 2,
    json: Json = None,
    markdown: Markdown = None,
    figure: Annotated[Path | None, typer.Option(help="Draw clean and adversarial images, side by side.")] = None,
    curve: Annotated[Path | None, typer.Option(help="Draw robust accuracy over the eps listed by --eps.")] = None,
) -> None:
    """Attack a model and print how many images withstand everything."""
    from advbench.cli import output
    from advbench.cli.evaluating import Job, Request, conclude
    from advbench.cli.runtime import prepare
    from advbench.reports import sheet

    output.check(json, markdown, figure, curve)
    if resume and not out:
        raise UsageError("--resume needs the run directory: --out DIR")
    if curve and "," not in (eps or ""):
        raise UsageError("--curve needs several budgets, like --eps 2/255,4/255,8/255")
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
        doublings=doublings,
        checks=checks.value,
        preprocess=Preprocess.parse(input_layout, mean, std),
        reading=Reading.parse(resize, crop, interpolation, classes, transparent, skip_corrupt),
        expect_clean=expect_clean,
        weights=weights,
        queries=query_budget,
        wrap=wrap,
        adaptive=adaptive,
        logits=logits,
        extra_outputs=allow_extra_outputs,
    )
    job = Job.of(model, request)
    with TemporaryDirectory() as scratch:
        folder = out or (Path(scratch) / "run" if figure else None)
        results = job.run(folder, each=each)
        text = results[0].to_json() if len(results) == 1 else output.array(results)
        output.show(sheet.of_result(results[0]) if len(results) == 1 else sheet.of_curve(results), text, json, markdown)
        if figure and folder:
            _draw(job, results[-1], folder, figure)
    if curve:
        from advbench.reports.figure import draw_curve

        output.write(curve, draw_curve(results, curve.suffix))
    conclude(results)


def _draw(job: Job, result: Result, folder: Path, figure: Path) -> None:
    """Draw what broke; of a curve, at the largest eps, whose run has a folder of its own."""
    from advbench.cli.output import write
    from advbench.evaluation import Result
    from advbench.evaluation.run import load_images
    from advbench.reports.figure import draw_examples, examples

    runs = [path.parent for path in folder.rglob("result.json")]
    images = load_images(next(run for run in runs if Result.load(run).threat == result.threat))
    write(figure, draw_examples(result, examples(result, images, job.model, job.data), figure.suffix))
