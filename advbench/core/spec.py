"""What people type, made into objects: `8/255`, `pgd:steps=100,restarts=5`, `linf`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

from advbench.core.errors import UsageError, unknown
from advbench.core.names import (
    NO_OTHER_NAMES,
    found,
    number,
    plain,
)

if TYPE_CHECKING:
    from advbench.core.threat import Threat

T = TypeVar("T")


@dataclass(frozen=True)
class Epsilon:
    """A perturbation budget, exactly as typed and as an exact fraction, in pixel units (white is 1)."""

    text: str
    value: Fraction

    @classmethod
    def parse(cls, text: str) -> Epsilon:
        """Read `8/255`, `0.25/255`, `0.3` or `3e-1`.

        Raises
        ------
        UsageError
            When it is no number, not finite, or negative.
        """
        try:
            value = number(text)
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"eps {text!r} is not a number; write it like 8/255 or 0.3") from None
        if value < 0:
            raise UsageError(f"eps {text!r} is negative; a perturbation budget is at least 0")
        return cls(text.strip(), value)

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True)
class ThreatSpec:
    """A norm by name and its eps as typed."""

    norm: str
    eps: Epsilon

    @classmethod
    def parse(cls, norm: str, eps: str) -> ThreatSpec:
        """Check the norm's name and that eps makes sense for pixels in [0, 1].

        Raises
        ------
        UsageError
            For an unknown norm, a malformed eps, or one that the norm can't have.
        """
        from advbench.core.threat import NORMS

        norm = found("norm", norm, NORMS)
        budget = Epsilon.parse(eps)
        if norm == "any" and budget.value != 1:
            raise UsageError("under norm any every image is allowed: its eps is 1")
        if norm == "l0" and budget.value % 1:
            raise UsageError(f"eps {eps} in l0 is how many values may change, a whole number")
        if norm == "linf" and budget.value >= 1:
            raise UsageError(f"eps {eps} covers the whole pixel range [0, 1]; did you mean {eps}/255?")
        return cls(norm, budget)

    @property
    def threat(self) -> Threat:
        """The object that attacks compute with."""
        from advbench.core.threat import NORMS, Threat

        return Threat(NORMS[self.norm], float(self.eps))

    def __str__(self) -> str:
        return f"{self.norm} {self.eps.text}"


def unknown_threat(dataset: str) -> str:
    """Words on how to choose a threat for data that have none by default."""
    return (
        f"{dataset} has no perturbation that is usual: choose how far a pixel may move, white being 1, like "
        "--norm linf --eps 8/255 (hardly seen on photographs; 4/255 is usual at 224x224, 0.3 on black-and-white "
        "drawings), or --norm l2 --eps 0.5"
    )


def named(
    kind: str,
    text: str,
    known: Iterable[str],
    other_names: Mapping[str, str] = NO_OTHER_NAMES,
    also: Iterable[str] = (),
) -> str:
    """The text with the name before its settings as it is known; or the one of `also`, settings and all, that is meant.

    Raises
    ------
    UsageError
        When no known name is meant.
    """
    text, wholes = text.strip(), list(also)
    if whole := next((each for each in wholes if plain(each) == plain(text)), None):
        return whole
    name, _, rest = text.partition(":")
    stands = found(kind, name, [*known, *wholes], other_names)
    if rest and stands in wholes:
        raise unknown(kind, text, [*known, *wholes])
    return stands + (("," if ":" in stands else ":") + rest if rest else "")


def build(kind: str, text: str, known: dict[str, type[T]], other_names: Mapping[str, str] = NO_OTHER_NAMES) -> T:
    """`name:key=value,key=value` -> an instance of `known[name]`, each value read by its default's type.

    Raises
    ------
    UsageError
        For an unknown name or key (with the nearest one), a repeated key, or a value of the wrong kind.
    """
    name, _, rest = named(kind, text, known, other_names).partition(":")
    defaults = {f.name: f.default for f in fields(known[name])}  # type: ignore[arg-type]
    settings: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        key = found(f"setting of {name}", key, defaults)
        if not equals or key in settings:
            raise UsageError(f"write settings of {name} as key=value, each once; got {pair!r}")
        settings[key] = _read(name, key, value, defaults[key])
    return known[name](**settings)


def _read(name: str, key: str, value: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
        if isinstance(default, int):
            return int(value)
        if isinstance(default, float):
            real = float(number(value)) if "/" in value else float(value)
            if math.isfinite(real):
                return real
        if isinstance(default, str):
            return value
    except (KeyError, ValueError, ZeroDivisionError):
        pass
    raise UsageError(f"{name}: {key}={value!r} should be like {key}={default}")
