"""When a count of images is a finding: it must be more than a few, and more than the luck of the sample allows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson

FEW = 5  # images, at least, for a verdict
SHARE = 0.05  # of the sample; the lower bound of the 95 % interval must lie above it
NOTED = (2, 0.03)  # images and share from which a finding is mentioned

Level = Literal["note", "invalid"]


def level(count: int, n: int, share: float = SHARE) -> Level | None:
    """What `count` of `n` images amount to."""
    if count >= FEW and clopper_pearson(count, n)[0] > share:
        return "invalid"
    return "note" if count >= max(NOTED[0], NOTED[1] * n) else None


def missed(
    name: str, found: np.ndarray, by: np.ndarray, message: str, *, most: Level = "invalid", **evidence: Any
) -> Flag | None:
    """A flag where what should be weaker (`found`, bool `[n]`) breaks images that the stronger (`by`) misses.

    Parameters
    ----------
    name : of the flag.
    found, by : which images the one and the other broke.
    message : with `{count}` and `{n}`.
    most : the highest level that such a finding can have.
    **evidence : more numbers for the record.
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
