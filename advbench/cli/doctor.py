"""`advbench doctor`: preflight of this machine and of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from advbench.cli.options import (
    Adaptive,
    Classes,
    Crop,
    Data,
    Eps,
    ExpectClean,
    ExtraOutputs,
    InputLayout,
    Interpolation,
    LogitsName,
    Mean,
    Norm,
    Resize,
    SkipCorrupt,
    Std,
    Transparent,
    Weights,
    Wrap,
)
from advbench.core.errors import InvalidEvaluation, UsageError

if TYPE_CHECKING:
    import numpy as np

    from advbench.core.flag import Flag
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset
    from advbench.preflight import Check

STYLES = {"pass": "green", "note": "yellow", "not made": "yellow", "fail": "bold red"}

Line = tuple[str, str, str]  # verdict, what was asked, what was found


def doctor(
    model: Annotated[str | None, typer.Argument(help="Model to examine; the machine alone if left out.")] = None,
    data: Data = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Test images to look at.")] = 128,
    input_layout: InputLayout = None,
    mean: Mean = None,
    std: Std = None,
    weights: Weights = None,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    classes: Classes = None,
    transparent: Transparent = None,
    skip_corrupt: SkipCorrupt = False,
    expect_clean: ExpectClean = None,
    logits: LogitsName = None,
    allow_extra_outputs: ExtraOutputs = False,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the images, and the numbers of the self-test.")] = 0,
    norm: Norm = None,
    eps: Eps = None,
    full: Annotated[bool, typer.Option("--full", help="Also look for masked gradients, by all checks.")] = False,
    wrap: Wrap = None,
    adaptive: Adaptive = True,
    json: Annotated[Path | None, typer.Option("--json", help="Write the findings as JSON; - for stdout.")] = None,
) -> None:
    """Check that this machine computes rightly and that a model can be evaluated at all.

    Exits with 3 when a check fails; notes do not change the exit code.
    """
    from advbench.preflight import selftest

    # Not from the cache of compiled programs: it is this compiler that is being tested.
    examined = None
    if model is not None:
        from advbench.cli.subject import model_and_data, threats_of
        from advbench.core.preprocess import Preprocess
        from advbench.data import Reading
        from advbench.preflight.expected import accuracy_range
        from advbench.wrappers import wrapped

        if expect_clean is not None:
            accuracy_range(expect_clean)
        reading = Reading.parse(resize, crop, interpolation, classes, transparent, skip_corrupt)
        bare, test = model_and_data(model, data, Preprocess.parse(input_layout, mean, std), weights, logits, reading)
        defended = wrapped(bare, test.images.shape[1:], wrap, adaptive=adaptive)
        threat = threats_of(defended, test.name, norm, eps)[0] if full else None
        examined = _examine(defended, test, n, seed, threat, expect_clean, allow_extra_outputs)
    checks = selftest(seed=seed)
    _write_json(json, checks, examined)
    if str(json) != "-":
        _print("this machine", _versions(), [_machine_line(check) for check in checks])
        if examined:
            found = f"{examined.accuracy:.1%} of {n} clean test images right"
            _print(examined.model.name, found, _model_lines(examined))
    if wrong := [check.name for check in checks if not check.passed]:
        raise InvalidEvaluation(f"this jax computes wrongly here, install another version: {'; '.join(wrong)}")
    if invalid := [flag.name for flag in examined.flags if flag.level == "invalid"] if examined else []:
        raise InvalidEvaluation(f"no number of {model} would mean anything: {', '.join(invalid)}")


class Examined(NamedTuple):
    """A model and what was found."""

    model: LoadedModel
    accuracy: float
    flags: list[Flag]
    asked: dict[str, str]  # every check that was made, by the name of its flag


def _examine(
    model: LoadedModel,
    test: Dataset,
    n: int,
    seed: int,
    threat: ThreatSpec | None,
    expect_clean: str | None,
    extra: bool,
) -> Examined:
    import numpy as np

    from advbench.cli import targets
    from advbench.core.images import pixels
    from advbench.preflight import (
        CHECKS,
        EXPECTED,
        TRANSLATED,
        clean_accuracy,
        examine,
        expected,
    )
    from advbench.preflight.made import NotMade, flags_of
    from advbench.preflight.masking import ASKED
    from advbench.preflight.queries import CHECKS as QUERIES

    if n > len(test.images):
        raise UsageError(f"-n {n} is more than the {len(test.images)} images of {test.name} that are here")
    chosen = np.sort(np.random.default_rng(seed).choice(len(test.images), n, replace=False))
    images, labels = pixels(test.images[chosen]), test.labels[chosen]
    held: dict[str, Any] = {"classes": len(test.classes), "allow_extra_outputs": extra}
    ready = targets.ready(model, test, chosen.tolist())
    flags, asked = targets.preflight(ready, test.images[chosen], labels, **held), QUERIES
    if flags is None:
        flags, asked = examine(model, images, labels, **held), CHECKS | (TRANSLATED if model.compare else {})
    elif threat:
        raise UsageError("--full looks at gradients, which can't be had through queries")
    accuracy = clean_accuracy(model, images, labels)
    if expect_clean is not None:
        flags, asked = flags + expected(accuracy, n, expect_clean), asked | EXPECTED
    if threat:
        fatal = any(flag.level == "invalid" for flag in flags)
        left_out = flags_of([NotMade(tuple(ASKED), "the model can't be evaluated as it is")])
        flags, asked = flags + (left_out if fatal else _masking(model, test, chosen, threat, seed)), asked | ASKED
    return Examined(model, accuracy, flags, asked)


def _masking(model: LoadedModel, test: Dataset, chosen: np.ndarray, threat: ThreatSpec, seed: int) -> list[Flag]:
    """All checks, under this threat; a surrogate learns from images that were not chosen."""
    import numpy as np

    from advbench.cli.evaluating import pool
    from advbench.core.images import pixels
    from advbench.preflight.masking import examine_masking

    at = np.concatenate([chosen, np.setdiff1d(np.arange(pool(test)), chosen)])
    images, labels = pixels(test.images[at]), test.labels[at]
    classes = len(test.classes)
    return examine_masking(model, images, labels, threat, seed=seed, batch_size=64, full=True, classes=classes)


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
