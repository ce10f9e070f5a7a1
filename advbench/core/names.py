"""Names as people write them, matched with a registry: `Linf`, `L_2`, `PGD`, `APGD-CE`, `CIFAR-10`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from advbench.core.errors import unknown

ATTACK_NAMES: Mapping[str, str] = {
    "AA": "autoattack",
    "APGD-CE": "apgd",
    "APGD-DLR": "apgd:loss=dlr",
    "APGD-T": "apgd:loss=dlr,targets=9",
    "FAB-T": "fab:targets=9",
    "FGM": "fgsm",
    "HSJA": "hopskipjump",
    "I-FGSM": "bim",
    "MIM": "mi-fgsm",
}
"""Names in papers of attacks that have another name here."""
DEFENSE_NAMES: Mapping[str, str] = {"AT": "pgd", "PGD-AT": "pgd", "Fast-AT": "fgsm-rs", "Free-AT": "free"}
"""The same for defenses."""
NO_OTHER_NAMES: Mapping[str, str] = {}


def found(kind: str, name: str, known: Iterable[str], other_names: Mapping[str, str] = NO_OTHER_NAMES) -> str:
    """Return the known name that is meant: equal except for case, hyphens, underscores, spaces and the like.

    Parameters
    ----------
    kind : str
        Kind of the thing named, for the error.
    name : str
        Name as typed.
    known : Iterable[str]
        Names that exist.
    other_names : Mapping[str, str], default NO_OTHER_NAMES
        Further names, with the known names that they mean.

    Returns
    -------
    str
        A name in `known`.

    Raises
    ------
    UsageError
        When none is meant, or more than one could be; with the nearest.

    Examples
    --------
    >>> found("norm", "L_inf", ["linf", "l2"])
    'linf'
    """
    names = list(known)
    if name in names:
        return name
    meant = {each for each in names if plain(each) == plain(name)}
    meant = meant or {stands for each, stands in other_names.items() if plain(each) == plain(name)}
    if len(meant) != 1 or not plain(name):
        raise unknown(kind, name, names)
    return meant.pop()


def plain(name: str) -> str:
    """Reduce a name to small letters and digits; the signs of norms are spelt out.

    Parameters
    ----------
    name : str
        Name as typed.

    Returns
    -------
    str
        Text that equal names share.
    """
    return re.sub(r"[^a-z0-9]", "", name.replace("\u221e", "inf").replace("\u2113", "l").lower())


def number(text: str) -> Fraction:
    """Read `8/255`, `0.25/255`, `0.3` or `3e-1` exactly.

    Parameters
    ----------
    text : str
        Number, or a fraction of two numbers.

    Returns
    -------
    Fraction
        Exact value.

    Raises
    ------
    ValueError
        When it is no number.
    ZeroDivisionError
        When the denominator is 0.

    Examples
    --------
    >>> number("8/255")
    Fraction(8, 255)
    """
    over, slash, under = text.strip().partition("/")
    if "/" in under:
        raise ValueError(f"{text} is not one fraction")
    return Fraction(over.strip()) / Fraction(under.strip()) if slash else Fraction(over)
