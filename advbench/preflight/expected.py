"""Comparison of clean accuracy with the value the user expects, which reveals a wrong normalisation."""

from __future__ import annotations

import re
from typing import Final

from advbench.core.errors import UsageError
from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson

EXPECTED: Final = {"unexpected_clean": "clean accuracy is as expected"}
LEVEL: Final = 0.999  # high, so that a build does not fail because its few images differ from the test set by chance


def expected(accuracy: float, n: int, text: str) -> list[Flag]:
    """Compare clean accuracy with the expected one.

    Parameters
    ----------
    accuracy : float
        Clean accuracy on `n` images, in [0, 1].
    n : int
        Number of images.
    text : str
        Expected accuracy as typed, `0.69` or `69%`: all numbers that round to it, at most 0.5 percentage points away.

    Returns
    -------
    list of Flag
        `unexpected_clean`, level invalid, if the 99.9 % Clopper-Pearson interval lies outside the expected range.

    Raises
    ------
    UsageError
        When `text` is not an accuracy.
    """
    least, most = accuracy_range(text)
    low, high = clopper_pearson(round(accuracy * n), n, LEVEL)
    if low <= most and high >= least:
        return []
    return [
        Flag(
            name="unexpected_clean",
            level="invalid",
            evidence={"expected": text, "accuracy": accuracy, "n": n, "low": low, "high": high},
            message=f"clean accuracy is {accuracy:.1%} on {n} images (99.9 % interval {low:.1%} to {high:.1%}), not "
            f"{text}: check --input-layout, --mean, --std, the weights and the data set",
        )
    ]


def accuracy_range(text: str) -> tuple[float, float]:
    """Return the lowest and highest accuracy that round to `text`; raise UsageError if it is not an accuracy."""
    found = re.fullmatch(r"(\d{1,3}(?:\.(\d{1,9}))?)(%?)", text.strip())
    unit = 100 if found and found[3] else 1
    if not found or not 0 <= float(found[1]) <= unit:
        raise UsageError(f"--expect-clean {text!r} should be an accuracy like 0.69 or 69%")
    half = min(0.5 * 10.0 ** -len(found[2] or "") / unit, 0.005)
    return float(found[1]) / unit - half, float(found[1]) / unit + half
