"""Settings of an evaluation: one object for Python, the command line, the gate and pytest."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from advbench.api.keywords import Eps, Numbers, Preflight, never, quietly
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.attacks import Attack
    from advbench.core.preprocess import Preprocess
    from advbench.core.reading import Reading
    from advbench.evaluation import EvaluationProgress


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of an evaluation besides the model and the data; None takes the default of the model or the data.

    Attributes
    ----------
    norm : str, optional
        linf, l2, l1, l0 or any; by default that of the model's training, else that of the data set.
    eps : str, number or sequence of these, optional
        Perturbation budget, for pixels from 0 to 1: `"8/255"`, 0.03; several for a curve.
    attacks : str, Attack or sequence of these, optional
        Attacks in order, cheap ones first; by default FGSM and APGD on several losses, by norm and access.
    n : int, optional
        Attack the first `n` images; by default 1,000, or 100 for a remote model.
    indices : str or sequence of int, optional
        Indices of the images to attack instead; text as on the command line, `0-99,500`.
    input_layout, mean, std : str or numbers, optional
        Order of axes that the network expects, and the values that are subtracted from pixels in [0, 1] and then divide
        them.
    resize, crop, interpolation, transparent, skip_corrupt
        Reading of image files: see `advbench.data.Reading`.
    classes : path or sequence of str, optional
        Names of the classes, label 0 first, or a file with one name in each line.
    weights : Path, optional
        Weights for the PyTorch or Keras model that `file.py:factory` makes.
    expect_clean : str or float, optional
        Clean accuracy that the model is known to have; another one gives the flag `unexpected_clean`.
    logits : str, optional
        Name of the output that holds the logits, if there are several.
    allow_extra_outputs : bool
        The model may have more outputs than the data has classes.
    seed : int
        Fixes every random start, from 0 to 2**32 - 1.
    batch_size : int
        Images in a batch; results do not depend on it.
    out : Path, optional
        Run directory for the result, the adversarial images and a journal.
    resume : bool
        Continue the run in `out`.
    cascade : bool
        Attack only images that earlier attacks did not break. False lets every attack try every image, to compare them.
    force : bool
        Attack even if the preflight checks say that the numbers will mean nothing.
    preflight : bool or {"none", "fast", "full"}
        Checks before the attacks: True and "fast" examine the model and look for masked gradients by short attacks,
        "full" by all checks; "none" examines the model alone; False checks nothing.
    time_limit : str or float, optional
        Stop after this time, `"60s"` or seconds; the attack that breaks most images per second runs first.
    query_limit : int, optional
        Largest number of images sent to a remote model.
    eot_samples : int, optional
        Draws averaged in each forward pass of a randomised model.
    input_defense : str or sequence of str, optional
        Input defenses, in the order in which images pass them.
    adaptive : bool
        Attacks know the input defenses.
    translate : bool
        Attacks compute a translation of a PyTorch module to JAX, where that is the same function to rounding; the judge
        asks the module itself either way.
    doublings : int
        Number of times that an attack that has not converged may double its steps, or its restarts.
    command : str
        The command as typed, for the record.
    progress : callable
        Called after every batch.
    should_stop : callable
        Called before every batch; returns the number of a signal to stop, else None.
    notify : callable
        Called with each note and flag as a line.
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
    progress: Callable[[EvaluationProgress], None] = field(default=quietly, repr=False)
    should_stop: Callable[[], int | None] = field(default=never, repr=False)
    notify: Callable[[str], None] = field(default=quietly, repr=False)

    def __post_init__(self) -> None:
        if self.resume and not self.out:
            raise UsageError("--resume needs the run directory: --out DIR")
        if self.preflight not in (True, False, "none", "fast", "full"):
            raise UsageError(f"preflight {self.preflight!r} should be True, False, 'none', 'fast' or 'full'")

    @classmethod
    def names(cls) -> frozenset[str]:
        """Return the names of all settings.

        Returns
        -------
        frozenset of str
            Field names.
        """
        return frozenset(each.name for each in fields(cls))

    @property
    def looks(self) -> str:
        """Extent of the preflight checks: off, none, fast or full."""
        if isinstance(self.preflight, bool):
            return "fast" if self.preflight else "off"
        return self.preflight

    @property
    def eps_text(self) -> str | None:
        """All eps as the command line takes them: `2/255,8/255`."""
        if self.eps is None or isinstance(self.eps, str):
            return self.eps
        several = self.eps if isinstance(self.eps, Sequence) else [self.eps]
        return ",".join(each if isinstance(each, str) else _number(each) for each in several)

    @property
    def preprocess(self) -> Preprocess:
        """Declared preprocessing."""
        from advbench.core.preprocess import Preprocess

        return Preprocess.parse(self.input_layout, number_text(self.mean), number_text(self.std))

    @property
    def reading(self) -> Reading:
        """Declared reading of image files."""
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
        """Time limit in seconds."""
        return self.time_limit if isinstance(self.time_limit, int | float) else seconds(self.time_limit)


def show_options(function: Any, without: Sequence[str] = (), **defaults: Any) -> None:
    """Let `help` show every option with its default.

    Parameters
    ----------
    function : callable
        Takes `**options`.
    without : sequence of str
        Options that it does not have.
    **defaults
        Defaults of the function that differ from those of `Settings`.
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
    """Read a time like `90`, `60s`, `5m` or `1h`.

    Parameters
    ----------
    limit : str or None
        The time as typed.

    Returns
    -------
    float or None
        Seconds; None for None.

    Raises
    ------
    UsageError
        For any other text.
    """
    if limit is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", limit.strip())
    if not found or not float(found[1]):
        raise UsageError(f"--time-limit {limit!r} should be a time like 60s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _number(value: Any) -> str:
    """Return a number as text that reads back as the same number."""
    return str(value) if isinstance(value, Fraction | int) else repr(float(value))


def number_text(values: Numbers | None) -> str | None:
    """Write numbers as the command line takes them: `0.5,0.25`.

    Parameters
    ----------
    values : str, number or sequence of number, or None
        One or several numbers.

    Returns
    -------
    str or None
        Text; None for None.
    """
    if values is None or isinstance(values, str):
        return values
    several: Any = values if hasattr(values, "__len__") else [values]
    return ",".join(map(_number, several))
