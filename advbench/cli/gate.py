"""`advbench gate`: pass or fail a build by the robustness of a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from advbench.cli import panels
from advbench.cli.groups import expanded, settings_of
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
)
from advbench.cli.panels import argument, option

SHARE = "PERCENT"
FORMATS = "junit, sarif, gitlab, markdown, json, openmetrics, latex or robustbench"


@partial(expanded, unset=True)
def gate(
    target: Annotated[
        str | None,
        argument(panels.RULES, "CONFIG|MODEL", "File with the rules, or the model.", show_default="advbench.toml"),
    ] = None,
    model: Annotated[str | None, option(panels.MODEL, "MODEL", "Model, instead of the one in the file.")] = None,
    min_robust: Annotated[str | None, option(panels.RULES, SHARE, "Least robust accuracy, like 40%.")] = None,
    min_clean: Annotated[str | None, option(panels.RULES, SHARE, "Least clean accuracy.")] = None,
    max_drop: Annotated[
        str | None, option(panels.RULES, SHARE, "Largest drop of robust accuracy below that of the baseline.")
    ] = None,
    min_class: Annotated[
        list[str] | None,
        option(panels.RULES, "CLASS=PERCENT", "Least robust accuracy on images of a class. Repeat for more."),
    ] = None,
    min_worst_class: Annotated[
        str | None, option(panels.RULES, SHARE, "Least robust accuracy on images of every class.")
    ] = None,
    *,
    asked: Asked,
    eps: Eps = None,
    pixels: Pixels,
    files: Files,
    weights: Weights = None,
    expect_clean: ExpectClean = None,
    outputs: Outputs,
    n: Annotated[
        int | None, option(panels.DATA, "N", "Draw from the first N test images.", "-n", min=1, show_default="all")
    ] = None,
    fixed: Fixed,
    seed: Annotated[
        int | None,
        option(panels.RUN, "N", "Seed of the order of images and of all random numbers.", show_default="0"),
    ] = None,
    batch_size: Annotated[
        int | None, option(panels.RUN, "N", "Images between two decisions, at least.", min=1, show_default="64")
    ] = None,
    error_rate: Annotated[
        float | None,
        option(panels.RULES, "SHARE", "Probability, at most, that the verdict is wrong.", show_default="0.05"),
    ] = None,
    allow_flag: Annotated[
        list[str] | None,
        option(panels.CHECKS, "FLAG", "Finding that does not make the gate invalid. Repeat for more."),
    ] = None,
    conditions: Conditions,
    baseline: Annotated[
        str | None, option(panels.BASELINE, "FILE", "Outcomes of an earlier model, which --max-drop compares with.")
    ] = None,
    update_baseline: Annotated[
        bool, option(panels.BASELINE, None, "Write the baseline instead of comparing with it.", "--update-baseline")
    ] = False,
    baseline_images: Annotated[
        int | None, option(panels.BASELINE, "N", "Images of a new baseline.", min=1, show_default="1000")
    ] = None,
    json: Json = None,
    report: Annotated[
        list[str] | None, option(panels.OUTPUT, "FORMAT=FILE", f"Write a report: {FORMATS}. Repeat for more.")
    ] = None,
    out: Annotated[
        Path | None, option(panels.OUTPUT, "DIR", "Folder for a run directory of each threat model.")
    ] = None,
    resume: Resume = False,
    check: Annotated[bool, option(panels.RULES, None, "Check the rules, and run nothing.", "--check")] = False,
    schema: Annotated[bool, option(panels.RULES, None, "Print the JSON Schema of the file.", "--schema")] = False,
) -> None:
    """Pass or fail a build: the exit code says whether a model is robust enough.

    Rules are in advbench.toml, in [tool.advbench.gate] of pyproject.toml, or options. Images are drawn at random until
    every rule is decided. Exits with 0 if all rules pass, 1 if one fails, 5 if one stays undecided, and 3 if the
    evaluation is invalid.
    """
    from advbench.api import gate_rules
    from advbench.cli import gating, output

    if schema:
        typer.echo(gate_rules.schema(), nl=False)
        return
    given = settings_of(asked, pixels, files, outputs, fixed, conditions, weights=weights, expect_clean=expect_clean)
    own = {"model": model, "data": asked.data, "error_rate": error_rate, "allow_flags": allow_flag}
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
    rules, source = gate_rules.written(target, settings, overall, threat, update=update_baseline, notify=output.say)
    if check:
        typer.echo(gate_rules.summary(rules, source))
        return
    gating.decide(rules, source, update=update_baseline, json=json, reports=report or (), out=out, resume=resume)
