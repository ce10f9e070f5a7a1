"""Objects made from what users type: `8/255`, `pgd:steps=100,restarts=5`, `linf`."""

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
    """A perturbation budget, as typed and as an exact fraction, white being 1.

    Parameters
    ----------
    text : str
        As typed, like "8/255".
    value : Fraction
        Exact value, at least 0.
    """

    text: str
    value: Fraction

    @classmethod
    def parse(cls, text: str) -> Epsilon:
        """Read `8/255`, `0.25/255`, `0.3` or `3e-1`.

        Parameters
        ----------
        text : str
            As typed.

        Returns
        -------
        Epsilon
            The perturbation budget.

        Raises
        ------
        UsageError
            When it is no number, not finite, or negative.

        Examples
        --------
        >>> Epsilon.parse("8/255").value
        Fraction(8, 255)
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
    """A threat model as typed: the name of a norm, and eps.

    Parameters
    ----------
    norm : str
        Name of a norm, like "linf".
    eps : Epsilon
        Perturbation budget.
    """

    norm: str
    eps: Epsilon

    @classmethod
    def parse(cls, norm: str, eps: str) -> ThreatSpec:
        """Check the name of the norm, and that eps makes sense for pixels in [0, 1].

        Parameters
        ----------
        norm : str
            Name as typed, like "Linf".
        eps : str
            Perturbation budget as typed.

        Returns
        -------
        ThreatSpec
            The threat model.

        Raises
        ------
        UsageError
            For an unknown norm, a malformed eps, or one that the norm can't have.

        Examples
        --------
        >>> str(ThreatSpec.parse("L_inf", "8/255"))
        'linf 8/255'
        """
        from advbench.core.norms import NORMS

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
        from advbench.core.norms import NORMS
        from advbench.core.threat import Threat

        return Threat(NORMS[self.norm], float(self.eps))

    def __str__(self) -> str:
        return f"{self.norm} {self.eps.text}"


def unknown_threat(dataset: str) -> str:
    """Explain how to choose a threat model for data that have none by default.

    Parameters
    ----------
    dataset : str
        Name of the data.

    Returns
    -------
    str
        Text for an error.
    """
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
    """Replace the name before the settings by the known one; or return the member of `also` that is meant.

    Parameters
    ----------
    kind : str
        Kind of the thing named, for the error.
    text : str
        Name and settings as typed.
    known : Iterable[str]
        Names that exist.
    other_names : Mapping[str, str], default NO_OTHER_NAMES
        Further names, with the known names that they mean.
    also : Iterable[str], default ()
        Whole texts, like names of suites.

    Returns
    -------
    str
        The text with the known name.

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
    """Build an instance of `known[name]` from `name:key=value,key=value`, each value read by its default's type.

    Parameters
    ----------
    kind : str
        Kind of the thing named, for the error.
    text : str
        Name and settings as typed.
    known : dict[str, type[T]]
        Classes of settings by name.
    other_names : Mapping[str, str], default NO_OTHER_NAMES
        Further names, with the known names that they mean.

    Returns
    -------
    T
        Instance with these settings.

    Raises
    ------
    UsageError
        For an unknown name or key (with the nearest one), a repeated key, or a value of the wrong kind.

    Examples
    --------
    >>> from advbench.attacks import ATTACKS
    >>> build("attack", "pgd:steps=100,rel_step_size=1/50", ATTACKS).rel_step_size
    0.02
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
