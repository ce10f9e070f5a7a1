"""`advbench doctor`: preflight check of this machine and of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advbench.cli import panels
from advbench.cli.groups import expanded, settings_of
from advbench.cli.options import (
    MODEL,
    Adaptive,
    Data,
    Eps,
    ExpectClean,
    Files,
    InputDefense,
    Norm,
    Outputs,
    Pixels,
    Weights,
)
from advbench.cli.panels import TO, argument, option
from advbench.core.errors import InvalidEvaluation, UsageError

if TYPE_CHECKING:
    from advbench.api.examining import Examined
    from advbench.preflight import Check

STYLES = {"pass": "green", "note": "yellow", "not made": "yellow", "fail": "bold red"}

Line = tuple[str, str, str]  # verdict, check, finding


@expanded
def doctor(
    model: Annotated[
        str | None, argument(panels.MODEL, "MODEL", f"{MODEL} Without it, only the machine is checked.")
    ] = None,
    data: Data = None,
    n: Annotated[int, option(panels.DATA, "N", "Use N test images, drawn at random.", "-n", min=1)] = 128,
    *,
    pixels: Pixels,
    weights: Weights = None,
    files: Files,
    expect_clean: ExpectClean = None,
    outputs: Outputs,
    seed: Annotated[int, option(panels.RUN, "N", "Seed of the choice of images and of the self-test.", min=0)] = 0,
    norm: Norm = None,
    eps: Eps = None,
    full: Annotated[bool, option(panels.CHECKS, None, "Also run every check for masked gradients.", "--full")] = False,
    input_defense: InputDefense = None,
    adaptive: Adaptive = True,
    json: Annotated[
        Path | None, option(panels.OUTPUT, TO, "Write the findings as JSON; - for stdout.", "--json")
    ] = None,
) -> None:
    """Check that this machine computes correctly and that a model can be evaluated.

    Exits with 3 if a check fails; notes do not change the exit code.
    """
    from advbench.preflight import selftest

    # No cache of compiled programs here, because the self-test is about this compiler.
    found = None
    if model is not None:
        from advbench.api.examining import examined
        from advbench.api.settings import Settings
        from advbench.cli.output import say

        own: dict[str, Any] = {
            "n": n,
            "weights": weights,
            "expect_clean": expect_clean,
            "seed": seed,
            "norm": norm,
            "eps": eps,
        }
        own |= {
            "input_defense": input_defense,
            "adaptive": adaptive,
            "preflight": "full" if full else "none",
            "notify": say,
        }
        found = examined(model, data, Settings(**settings_of(pixels, files, outputs, **own)))
    checks = selftest(seed=seed)
    _write_json(json, checks, found)
    if str(json) != "-":
        _print("this machine", _versions(), [_machine_line(check) for check in checks])
        if found:
            right = f"clean accuracy {found.accuracy:.1%} on {n} test images"
            _print(found.model.name, right, _model_lines(found))
    if wrong := [check.name for check in checks if not check.passed]:
        raise InvalidEvaluation(f"jax computes wrong results here; install another version: {'; '.join(wrong)}")
    if invalid := [flag.name for flag in found.flags if flag.level == "invalid"] if found else []:
        raise InvalidEvaluation(f"{model} cannot be evaluated: {', '.join(invalid)}")


def _versions() -> str:
    from importlib.metadata import version

    import jax

    return f"jax {version('jax')}, jaxlib {version('jaxlib')}, {jax.devices()[0].device_kind}"


def _machine_line(check: Check) -> Line:
    found = f"off by {check.error:.1e}, allowed {check.tolerance:.0e}"
    return ("pass", check.name, found) if check.passed else ("fail", check.name, f"{found} ({check.setting})")


def _model_lines(examined: Examined) -> list[Line]:
    from advbench.preflight.made import not_made

    raised = {flag.name: flag for flag in examined.flags}
    left_out = not_made(examined.flags)
    verdicts = {"invalid": "fail", "note": "note"}

    def line(name: str, asked: str) -> Line:
        if name in raised:
            return verdicts[raised[name].level], asked, raised[name].message
        return ("not made", asked, left_out[name]) if name in left_out else ("pass", asked, "")

    return [line(name, asked) for name, asked in examined.asked.items()]


def _print(title: str, caption: str, lines: list[Line]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "check", "found", title=escape(title), caption=escape(caption), title_justify="left")
    table.columns[0].no_wrap = True
    table.columns[2].overflow = "fold"
    for verdict, asked, found in lines:
        table.add_row(f"[{STYLES[verdict]}]{verdict}[/]", escape(asked), escape(found))
    Console().print(table)


def _write_json(path: Path | None, checks: list[Check], examined: Examined | None) -> None:
    if path is None:
        return
    import json
    import math
    from dataclasses import asdict

    findings: dict[str, Any] = {
        "machine": [asdict(c) | {"error": c.error if math.isfinite(c.error) else None} for c in checks],
        "model": examined
        and {
            "name": examined.model.name,
            "digest": examined.model.digest,
            "accuracy": examined.accuracy,
            "flags": [flag.model_dump() for flag in examined.flags],
        },
    }
    text = json.dumps(findings, indent=1) + "\n"
    if str(path) == "-":
        typer.echo(text, nl=False)
        return
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from None
