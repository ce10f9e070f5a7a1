"""Whether clean accuracy is what the user knows it to be: a wrong normalisation shows nowhere else."""

from __future__ import annotations

import re
from typing import Final

from advbench.core.errors import UsageError
from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson

EXPECTED: Final = {"unexpected_clean": "clean accuracy is as expected"}
LEVEL: Final = 0.999  # few images may well differ from the test set, and no build should fail for that


def expected(accuracy: float, n: int, text: str) -> list[Flag]:
    """Compare clean accuracy with what was expected.

    Parameters
    ----------
    accuracy : of `n` images, in [0, 1].
    text : as typed, `0.69` or `69%`; it stands for all numbers that round to it, 0.5 percentage points away at most.

    Returns
    -------
    list of Flag
        `unexpected_clean`, which is `invalid`, unless the Clopper-Pearson interval at 99.9 % meets what was expected.

    Raises
    ------
    UsageError
        When `text` is no accuracy.
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
            message=f"clean accuracy is {accuracy:.1%} on {n} images (99.9 %: {low:.1%} to {high:.1%}), not {text}: "
            "check --input-layout, --mean, --std, the weights and the data set",
        )
    ]


def accuracy_range(text: str) -> tuple[float, float]:
    """The accuracies that `text` stands for, or a UsageError."""
    found = re.fullmatch(r"(\d{1,3}(?:\.(\d{1,9}))?)(%?)", text.strip())
    unit = 100 if found and found[3] else 1
    if not found or not 0 <= float(found[1]) <= unit:
        raise UsageError(f"--expect-clean {text!r} should be an accuracy like 0.69 or 69%")
    half = min(0.5 * 10.0 ** -len(found[2] or "") / unit, 0.005)
    return float(found[1]) / unit - half, float(found[1]) / unit + half
