"""Names as people write them, found in a registry: `Linf`, `L_2`, `PGD`, `APGD-CE`, `CIFAR-10`."""

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
"""What papers call attacks that have other names here."""
DEFENSE_NAMES: Mapping[str, str] = {"AT": "pgd", "PGD-AT": "pgd", "Fast-AT": "fgsm-rs", "Free-AT": "free"}
"""The same of defenses."""
NO_OTHER_NAMES: Mapping[str, str] = {}


def found(kind: str, name: str, known: Iterable[str], other_names: Mapping[str, str] = NO_OTHER_NAMES) -> str:
    """The known name that is plainly meant: the same one, but for case, hyphens, underscores, spaces and the like.

    Parameters
    ----------
    kind : str
        What it names, for the error.
    name : str
        As typed.
    known : iterable of str
        The names that there are.
    other_names : mapping of str to str
        Further names, and what they stand for.

    Raises
    ------
    UsageError
        When none is meant, or more than one could be; with the nearest.
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
    """Letters and digits only, the letters small; also of a norm written by its signs."""
    return re.sub(r"[^a-z0-9]", "", name.replace("\u221e", "inf").replace("\u2113", "l").lower())


def number(text: str) -> Fraction:
    """`8/255`, `0.25/255`, `0.3`, `3e-1`, exactly.

    Raises
    ------
    ValueError, ZeroDivisionError
        When it is none.
    """
    over, slash, under = text.strip().partition("/")
    if "/" in under:
        raise ValueError(f"{text} is not one fraction")
    return Fraction(over.strip()) / Fraction(under.strip()) if slash else Fraction(over)
