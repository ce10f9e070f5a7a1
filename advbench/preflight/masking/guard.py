"""Thresholds of findings: a count of images must exceed a few, and its lower confidence bound a share."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson

FEW = 5  # images from which a finding is `invalid`
SHARE = 0.05  # of the sample; for `invalid` the lower bound of the 95 % interval must lie above it
NOTED = (2, 0.03)  # images, and share of the sample, from which a finding is a note

Level = Literal["note", "invalid"]


def level(count: int, n: int, share: float = SHARE) -> Level | None:
    """Return the level of a finding on `count` of `n` images; None if it is too small to report."""
    if count >= FEW and clopper_pearson(count, n)[0] > share:
        return "invalid"
    return "note" if count >= max(NOTED[0], NOTED[1] * n) else None


def missed(
    name: str, found: np.ndarray, by: np.ndarray, message: str, *, most: Level = "invalid", **evidence: Any
) -> Flag | None:
    """Flag images that the attack that should be weaker breaks and the stronger one misses.

    Parameters
    ----------
    name : str
        Name of the flag.
    found, by : np.ndarray
        Images that the weaker and the stronger attack broke, bool `[n]` each.
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
    count, n = int((found & ~by).sum()), len(found)
    if (how := level(count, n)) is None:
        return None
    numbers = {
        "missed": count,
        "n": n,
        "accuracy_weaker": float(1 - found.mean()),
        "accuracy_stronger": float(1 - by.mean()),
        "threshold": SHARE,
        "low": clopper_pearson(count, n)[0],
    }
    grade: Level = "note" if most == "note" else how
    return Flag(name=name, level=grade, evidence=numbers | evidence, message=message.format(count=count, n=n))
