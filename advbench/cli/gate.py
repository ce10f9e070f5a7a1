"""`advbench gate`: the exit code decides the build."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from advbench.cli.options import (
    Asked,
    Conditions,
    Eps,
    ExpectClean,
    Files,
    Fixed,
    Json,
    Outputs,
    Pixels,
    Resume,
    Weights,
    expanded,
    settings_of,
)

SHARE = "PERCENT"
FLAGS = {
    "json": "Write the gate with all that it rests on; - for stdout, and nothing else.",
    "report": "junit, sarif, gitlab, markdown, json, openmetrics, latex or robustbench; repeat it for more.",
    "out": "Keep the images that broke and every batch, a run directory for each threat.",
}


@partial(expanded, unset=True)
def gate(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG|MODEL]", help="File with the rules, or the model.", show_default="advbench.toml"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Instead of the one that the file names.")] = None,
    min_robust: Annotated[str | None, typer.Option(metavar=SHARE, help="Robust accuracy, at least: 40%.")] = None,
    min_clean: Annotated[str | None, typer.Option(metavar=SHARE, help="Clean accuracy, at least.")] = None,
    max_drop: Annotated[str | None, typer.Option(metavar=SHARE, help="Robust accuracy lost, at most.")] = None,
    min_class: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=PERCENT", help="Of one class, at least; repeat it for more.")
    ] = None,
    min_worst_class: Annotated[str | None, typer.Option(metavar=SHARE, help="Of every class, at least.")] = None,
    *,
    asked: Asked,
    eps: Eps = None,
    pixels: Pixels,
    files: Files,
    weights: Weights = None,
    expect_clean: ExpectClean = None,
    outputs: Outputs,
    n: Annotated[int | None, typer.Option("-n", min=1, help="The first N test images.", show_default="all")] = None,
    fixed: Fixed,
    seed: Annotated[
        int | None, typer.Option(help="Fixes the order of images, and every random start.", show_default="0")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at a time.", show_default="64")] = None,
    error: Annotated[float | None, typer.Option(help="How often it may be wrong.", show_default="0.05")] = None,
    allow_flag: Annotated[
        list[str] | None, typer.Option(help="Finding that is no reason for exit code 3; repeat it for more.")
    ] = None,
    conditions: Conditions,
    baseline: Annotated[str | None, typer.Option(metavar="FILE", help="What an earlier model withstood.")] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline instead of comparing with it.")
    ] = False,
    baseline_images: Annotated[int | None, typer.Option(min=1, help="Of a new one.", show_default="1000")] = None,
    json: Json = None,
    report: Annotated[list[str] | None, typer.Option(metavar="FORMAT=FILE", help=FLAGS["report"])] = None,
    out: Annotated[Path | None, typer.Option(help=FLAGS["out"])] = None,
    resume: Resume = False,
    check: Annotated[bool, typer.Option("--check", help="Only check what is written.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the file.")] = False,
) -> None:
    """Decide a build by its exit code: whether a model is as robust as it must be.

    Rules stand in advbench.toml, in [tool.advbench.gate] of pyproject.toml, or are given here. Images are drawn at
    random until every rule is certain. Exits with 0 if all pass, 1 if one fails, 5 if one stays uncertain, and 3 if
    no number can be trusted.
    """
    from advbench.api import gate_rules
    from advbench.cli import gating

    if schema:
        typer.echo(gate_rules.schema(), nl=False)
        return
    given = settings_of(asked, pixels, files, outputs, fixed, conditions, weights=weights, expect_clean=expect_clean)
    own = {"model": model, "data": asked.data, "error": error, "allow_flags": allow_flag}
    own |= {"baseline": baseline, "baseline_images": baseline_images}
    threat = {
        "norm": given.pop("norm"),
        "eps": given.pop("eps"),
        "min-robust": min_robust,
        "min-class": gate_rules.classes(min_class),
        "min-worst-class": min_worst_class,
    }
    settings, _ = gate_rules.keys(given | own)
    overall = {"min-clean": min_clean, "max-drop": max_drop}
    rules, source = gate_rules.written(target, settings, overall, threat, update=update_baseline)
    if check:
        typer.echo(gate_rules.summary(rules, source))
        return
    gating.decide(rules, source, update=update_baseline, json=json, reports=report or (), out=out, resume=resume)
