"""Suites: one name for several attacks in their published order; each attack can also be named alone."""

from __future__ import annotations

AUTOATTACK = "Croce & Hein 2020, arXiv 2003.01690; in L1 Croce & Hein 2021, arXiv 2103.01208"

# From the authors' code. `rand` is for randomised models, which average 20 draws (EOT) by default.
_STANDARD = ("apgd", "apgd:loss=dlr,targets=9", "fab:targets=9", "square")
_STANDARD_L1 = ("apgd:large_eps=true,restarts=5", "apgd:loss=dlr,large_eps=true,targets=5", "fab:targets=9", "square")
_PLUS = (
    "apgd:restarts=5",
    "apgd:loss=dlr,restarts=5",
    "fab:restarts=5",
    "square",
    "apgd:loss=dlr,targets=9",
    "fab:targets=9",
)
_RAND = ("apgd", "apgd:loss=dlr")

_BY_NORM: dict[str, tuple[str, ...]] = {"linf": _STANDARD, "l2": _STANDARD, "l1": _STANDARD_L1}

SUITES: dict[str, dict[str, tuple[str, ...]]] = {
    "autoattack": _BY_NORM,
    "autoattack:version=standard": _BY_NORM,
    "autoattack:version=plus": dict.fromkeys(("linf", "l2", "l1"), _PLUS),
    "autoattack:version=rand": dict.fromkeys(("linf", "l2", "l1"), _RAND),
}
"""Attacks of each suite, by norm."""


def expand(text: str, norm: str) -> tuple[str, ...]:
    """Return the attacks that `text` names: those of a suite, or the text itself.

    Parameters
    ----------
    text : str
        Name of a suite or an attack, with settings.
    norm : str
        Name of the norm.

    Returns
    -------
    tuple[str, ...]
        Texts of attacks.

    Raises
    ------
    ValueError
        When the suite has no recipe for this norm.
    """
    if text not in SUITES:
        return (text,)
    if norm not in SUITES[text]:
        raise ValueError(f"{text} has no recipe in {norm}; it serves {', '.join(SUITES[text])}")
    return SUITES[text][norm]
