"""Thresholds of findings: a count of images must exceed a few, and its lower confidence bound a share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson

FEW = 5  # images from which a finding is `invalid`
SHARE = 0.05  # of the sample; for `invalid` the lower bound of the 95 % interval must lie above it
NOTED = (2, 0.03)  # images, and share of the sample, from which a finding is a note

Level = Literal["note", "invalid"]
Broken = np.ndarray | Callable[[np.ndarray], np.ndarray]
"""Images that an attack broke, bool `[n]`; or the attack, which marks those that it breaks among those asked for."""


def level(count: int, n: int, share: float = SHARE) -> Level | None:
    """Return the level of a finding on `count` of `n` images; None if it is too small to report."""
    if count >= FEW and clopper_pearson(count, n)[0] > share:
        return "invalid"
    return "note" if _noted(count, n) else None


def _noted(count: int, n: int) -> bool:
    """Tell whether a finding on `count` of `n` images is large enough to report: one that is invalid is anyway."""
    return count >= max(NOTED[0], NOTED[1] * n)


def missed(
    name: str, found: Broken, *by: Broken, message: str, most: Level = "invalid", **evidence: Any
) -> Flag | None:
    """Flag images that the attack that should be weaker breaks and the stronger ones miss.

    Attacks that have not run yet are asked about the images that still matter, as long as these suffice for a finding;
    of a finding, the evidence is that of all images.

    Parameters
    ----------
    name : str
        Name of the flag.
    found, *by : np.ndarray or callable
        The weaker attack and the stronger ones, at least one of them a mask.
    message : str
        Message of the flag, with the fields `{count}` and `{n}`.
    most : {"note", "invalid"}
        Highest level that the flag may have.
    **evidence
        Further entries of the flag's evidence.

    Returns
    -------
    Flag or None
        None if too few images are concerned.
    """
    known_first = sorted([(found, True), *((each, False) for each in by)], key=lambda attack: callable(attack[0]))
    everything = left = np.ones(max(len(each) for each in (found, *by) if not callable(each)), bool)
    for attack, weaker in known_first:
        left = left & (_ask(attack, left) == weaker)
        if not _noted(int(left.sum()), len(left)):
            return None
    broken, otherwise = _ask(found, everything), np.any([_ask(each, everything) for each in by], 0)
    count, n = int((broken & ~otherwise).sum()), len(broken)
    if (how := level(count, n)) is None:
        return None
    numbers = {
        "missed": count,
        "n": n,
        "accuracy_weaker": float(1 - broken.mean()),
        "accuracy_stronger": float(1 - otherwise.mean()),
        "threshold": SHARE,
        "low": clopper_pearson(count, n)[0],
    }
    grade: Level = "note" if most == "note" else how
    return Flag(name=name, level=grade, evidence=numbers | evidence, message=message.format(count=count, n=n))


def _ask(attack: Broken, rows: np.ndarray) -> np.ndarray:
    return attack(rows) if callable(attack) else attack
