"""Types of the keyword arguments of `evaluate`, `curve` and `gate`, and callbacks that do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from advbench.attacks import Attack
    from advbench.evaluation import EvaluationProgress


Preflight = bool | Literal["none", "fast", "full"]
Eps = str | float | Fraction
Numbers = str | float | Sequence[float]


def quietly(_: object) -> None:
    """Ignore a message.

    Parameters
    ----------
    _ : object
        The message.
    """


def never() -> int | None:
    """Never ask to stop.

    Returns
    -------
    None
        No signal.
    """
    return None


class GateOptions(TypedDict, total=False):
    """Keyword arguments of `evaluate`, `curve` and `gate`, as in `Settings`."""

    attacks: str | Attack | Sequence[str | Attack] | None
    n: int | None
    indices: str | Sequence[int] | None
    input_layout: str | None
    mean: Numbers | None
    std: Numbers | None
    resize: int | None
    crop: int | None
    interpolation: str | None
    classes: str | Path | Sequence[str] | None
    transparent: str | None
    skip_corrupt: bool
    weights: Path | None
    expect_clean: str | float | None
    logits: str | None
    allow_extra_outputs: bool
    seed: int
    batch_size: int
    out: Path | str | None
    resume: bool
    preflight: Preflight
    time_limit: str | float | None
    query_limit: int | None
    eot_samples: int | None
    input_defense: str | Sequence[str] | None
    adaptive: bool
    translate: bool
    command: str
    should_stop: Callable[[], int | None]
    notify: Callable[[str], None]


class Options(GateOptions, total=False):
    """Keyword arguments of `evaluate` and `curve`: those of `GateOptions`, and those that a gate does not have."""

    cascade: bool
    force: bool
    doublings: int
    progress: Callable[[EvaluationProgress], None]
