"""What an evaluation may be told: one object for Python, the command line, the gate and pytest."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.attacks import Attack
    from advbench.core.preprocess import Preprocess
    from advbench.core.reading import Reading
    from advbench.evaluation import Progress

Preflight = bool | Literal["none", "fast", "full"]
Eps = str | float | Fraction
Numbers = str | float | Sequence[float]


def quietly(_: object) -> None:
    """Tell nobody."""


def never() -> int | None:
    """Never stop."""
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
    """Keyword arguments of `evaluate` and `curve`: and those that a gate has no use for."""

    cascade: bool
    force: bool
    doublings: int
    progress: Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an evaluation is told beside the model and the data; `None` leaves it to what is known of them.

    Attributes
    ----------
    norm : str, optional
        linf, l2, l1, l0 or any; by default what the model was trained for, else what is usual for the data set.
    eps : str, number or sequence of these, optional
        Perturbation budget, white being 1: `"8/255"`, 0.03; several for a curve.
    attacks : str, Attack or sequence of these, optional
        Cheap ones first, with settings if any; by default FGSM and APGD on several losses, by norm and access.
    n : int, optional
        Attack the first `n` images; by default 1,000, or 100 of a target behind a URL.
    indices : str or sequence of int, optional
        Which images instead; text as on the command line, `0-99,500`.
    input_layout, mean, std : str or numbers, optional
        Order of axes that the network was made for, and what is subtracted from pixels in [0, 1] and divides them.
    resize, crop, interpolation, transparent, skip_corrupt
        How image files are read: see `advbench.data.Reading`.
    classes : path or sequence of str, optional
        Names of the classes, label 0 first, or a file with one a line.
    weights : Path, optional
        Put into the PyTorch or Keras model that `file.py:factory` makes.
    expect_clean : str or float, optional
        Clean accuracy that the model is known to have; another one is the flag `unexpected_clean`.
    logits : str, optional
        Which of several outputs holds the logits.
    allow_extra_outputs : bool
        The model may have more outputs than the data has classes.
    seed : int
        Fixes every random start, from 0 to 2**32 - 1.
    batch_size : int
        Images in a batch; results do not depend on it.
    out : Path, optional
        Run directory: result, adversarial images, journal.
    resume : bool
        Go on with the run in `out`.
    cascade : bool
        Attack only images that earlier attacks left unbroken. False lets every attack try every image, to compare them.
    force : bool
        Attack even where the preflight says that numbers will mean nothing.
    preflight : bool or {"none", "fast", "full"}
        How hard to look for what makes numbers worthless before the attacks: True is "fast"; "none" looks at the model
        but not for masked gradients; False looks at nothing.
    time_limit : str or float, optional
        Stop after this time, `"60s"` or seconds; the attack that breaks most images per second runs first.
    query_limit : int, optional
        Images sent to a model behind a URL, at most.
    eot_samples : int, optional
        Draws averaged in each pass, for a randomised model.
    input_defense : str or sequence of str, optional
        Defenses at inference, in the order in which images meet them.
    adaptive : bool
        Attacks know of these.
    translate : bool
        Attacks compute a translation of a PyTorch module to JAX, where that is the same function to rounding; the judge
        asks the module itself either way.
    doublings : int
        How often an attack that has not converged may double its steps, or its restarts.
    command : str
        What was typed, for the record.
    progress, should_stop, notify : callable
        Told after every batch; asked before every batch for a signal's number; told notes and findings in a line each.
    """

    norm: str | None = None
    eps: Eps | Sequence[Eps] | None = None
    attacks: str | Attack | Sequence[str | Attack] | None = None
    n: int | None = None
    indices: str | Sequence[int] | None = None
    input_layout: str | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    resize: int | None = None
    crop: int | None = None
    interpolation: str | None = None
    classes: str | Path | Sequence[str] | None = None
    transparent: str | None = None
    skip_corrupt: bool = False
    weights: Path | None = None
    expect_clean: str | float | None = None
    logits: str | None = None
    allow_extra_outputs: bool = False
    seed: int = 0
    batch_size: int = 128
    out: Path | str | None = None
    resume: bool = False
    cascade: bool = True
    force: bool = False
    preflight: Preflight = True
    time_limit: str | float | None = None
    query_limit: int | None = None
    eot_samples: int | None = None
    input_defense: str | Sequence[str] | None = None
    adaptive: bool = True
    translate: bool = True
    doublings: int = 2
    command: str = ""
    progress: Callable[[Progress], None] = field(default=quietly, repr=False)
    should_stop: Callable[[], int | None] = field(default=never, repr=False)
    notify: Callable[[str], None] = field(default=quietly, repr=False)

    def __post_init__(self) -> None:
        if self.resume and not self.out:
            raise UsageError("--resume needs the run directory: --out DIR")
        if self.preflight not in (True, False, "none", "fast", "full"):
            raise UsageError(f"preflight {self.preflight!r} should be True, False, 'none', 'fast' or 'full'")

    @classmethod
    def names(cls) -> frozenset[str]:
        """Of all there is to set."""
        return frozenset(each.name for each in fields(cls))

    @property
    def looks(self) -> str:
        """How hard the preflight looks: off, none, fast or full."""
        if isinstance(self.preflight, bool):
            return "fast" if self.preflight else "off"
        return self.preflight

    @property
    def eps_text(self) -> str | None:
        """All eps as the command line has them: `2/255,8/255`."""
        if self.eps is None or isinstance(self.eps, str):
            return self.eps
        several = self.eps if isinstance(self.eps, Sequence) else [self.eps]
        return ",".join(each if isinstance(each, str) else _number(each) for each in several)

    @property
    def preprocess(self) -> Preprocess:
        """What is declared of pixels."""
        from advbench.core.preprocess import Preprocess

        return Preprocess.parse(self.input_layout, number_text(self.mean), number_text(self.std))

    @property
    def reading(self) -> Reading:
        """What is declared of image files."""
        from dataclasses import replace

        from advbench.core.reading import Reading

        file, names = None, None
        if isinstance(self.classes, str | Path):
            file = Path(self.classes)
        elif self.classes is not None:
            names = tuple(map(str, self.classes))
        read = Reading.parse(self.resize, self.crop, self.interpolation, file, self.transparent, self.skip_corrupt)
        return read if names is None else replace(read, classes=names)

    @property
    def seconds(self) -> float | None:
        """The time that there is."""
        return self.time_limit if isinstance(self.time_limit, int | float) else seconds(self.time_limit)


def show_options(function: Any, without: Sequence[str] = (), **defaults: Any) -> None:
    """Let `help` show every option with its default.

    Parameters
    ----------
    function : callable that takes `**options`.
    without : options that it has none of.
    **defaults : its own, where they are others than those of `Settings`.
    """
    shown = inspect.signature(function)
    own = [each for name, each in shown.parameters.items() if name != "options"]
    known = {each.name for each in own}.union(without)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name, each.default)).replace(
            annotation=each.annotation
        )
        for name, each in inspect.signature(cast("Any", Settings)).parameters.items()
        if name not in known
    ]
    function.__signature__ = shown.replace(parameters=[*own, *more])


def seconds(limit: str | None) -> float | None:
    """`90`, `60s`, `5m` or `1h` -> seconds.

    Raises
    ------
    UsageError
        For anything else.
    """
    if limit is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", limit.strip())
    if not found or not float(found[1]):
        raise UsageError(f"--time-limit {limit!r} should be a time like 60s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _number(value: Any) -> str:
    """A number as text that reads back as the same."""
    return str(value) if isinstance(value, Fraction | int) else repr(float(value))


def number_text(values: Numbers | None) -> str | None:
    """Numbers as the command line has them: `0.5,0.25`."""
    if values is None or isinstance(values, str):
        return values
    several: Any = values if hasattr(values, "__len__") else [values]
    return ",".join(map(_number, several))
