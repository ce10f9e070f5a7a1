"""`advbench attack`: robust accuracy of one model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from advbench.cli import panels
from advbench.cli.groups import expanded, settings_of
from advbench.cli.options import (
    Asked,
    ExpectClean,
    Files,
    Fixed,
    Kept,
    Model,
    Outputs,
    Pixels,
    Running,
    Weights,
    Written,
)
from advbench.cli.panels import option
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.api.job import Job
    from advbench.evaluation import Result


@expanded
def attack(
    model: Model,
    asked: Asked,
    pixels: Pixels,
    files: Files,
    *,
    weights: Weights = None,
    expect_clean: ExpectClean = None,
    outputs: Outputs,
    fixed: Fixed,
    kept: Kept,
    cascade: Annotated[
        bool,
        option(
            panels.ATTACKS,
            None,
            "Attack only images that earlier attacks left unbroken. With --no-cascade every attack tries every "
            "image, to compare attacks.",
            "--cascade/--no-cascade",
        ),
    ] = True,
    running: Running,
    doublings: Annotated[
        int,
        option(
            panels.ATTACKS,
            "N",
            "Times, up to 9, that an attack that has not converged may double its steps or restarts.",
            min=0,
            max=9,
        ),
    ] = 2,
    written: Written,
    figure: Annotated[
        Path | None,
        option(panels.OUTPUT, "FILE", "Draw clean and adversarial images side by side: .png, .pdf or .svg."),
    ] = None,
    curve: Annotated[
        Path | None, option(panels.OUTPUT, "FILE", "Draw robust accuracy over the values of --eps, likewise.")
    ] = None,
) -> None:
    """Attack a model and print its clean and robust accuracy.

    Robust accuracy is the share of images that the model classifies correctly under every attack tried.
    """
    from advbench.api.outcome import conclude
    from advbench.api.runtime import prepare
    from advbench.api.settings import Settings
    from advbench.cli import output
    from advbench.cli.running import run
    from advbench.reports import sheet

    json, markdown = written.json, written.markdown
    output.check(json, markdown, figure, curve)
    own = {"weights": weights, "expect_clean": expect_clean, "cascade": cascade, "doublings": doublings}
    settings = Settings(**settings_of(asked, pixels, files, outputs, fixed, kept, running, **own))
    if curve and "," not in (asked.eps or ""):
        raise UsageError("--curve needs several values of eps, like --eps 2/255,4/255,8/255")
    prepare()
    with TemporaryDirectory() as scratch:
        folder = kept.out or (Path(scratch) / "run" if figure else None)
        job, results = run(model, asked.data, replace(settings, out=folder))
        text = results[0].to_json() if len(results) == 1 else output.array(results)
        output.show(sheet.of_result(results[0]) if len(results) == 1 else sheet.of_curve(results), text, json, markdown)
        if figure and folder:
            _draw(job, results[-1], folder, figure)
    if curve:
        from advbench.reports.figure import draw_curve

        output.write(curve, draw_curve(results, curve.suffix))
    conclude(results)


def _draw(job: Job, result: Result, folder: Path, figure: Path) -> None:
    """Draw broken images; of a curve those of the largest eps, whose run has a folder of its own."""
    from advbench.cli.output import write
    from advbench.evaluation import Result
    from advbench.evaluation.run import load_images
    from advbench.reports.figure import draw_examples, examples

    runs = [path.parent for path in folder.rglob("result.json")]
    images = load_images(next(run for run in runs if Result.load(run).threat == result.threat))
    write(figure, draw_examples(result, examples(result, images, job.model, job.data), figure.suffix))
