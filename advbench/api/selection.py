"""Numbers of the images to attack, from what the user named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.data import Dataset


def selected(data: Dataset, n: int | None, named: str | Sequence[int] | None, most: int) -> list[int]:
    """Choose the images to attack.

    Parameters
    ----------
    data : Dataset
        Test images.
    n : int or None
        Number of images, from the first on.
    named : str, sequence of int or None
        Indices of images instead; text as on the command line, `0-99,500`, or the name of a file that holds it.
    most : int
        Number of images if neither is given.

    Returns
    -------
    list of int
        Indices.

    Raises
    ------
    UsageError
        When both are given, or images are missing, named twice or not by numbers.
    """
    if named is None:
        n = min(most, len(data)) if n is None else n
        if n < 1:
            raise UsageError(f"n is {n}: give at least one image")
        data.require(n)
        return list(range(n))
    if n is not None:
        raise UsageError("give -n or --indices, not both")
    if not isinstance(named, str):
        return _numbers(data, named)
    ranges = _ranges(named)
    last = max(stop for _, stop in ranges)
    if last >= data.total:
        raise UsageError(f"{named} names image {last}; {data.name} {data.split} ends at {data.total - 1}")
    data.require(last + 1)
    indices = [i for first, stop in ranges for i in range(first, stop + 1)]
    twice = next((i for i, times in Counter(indices).items() if times > 1), None)
    if twice is not None:
        raise UsageError(f"{named} names image {twice} more than once")
    return indices


def _numbers(data: Dataset, named: Sequence[int]) -> list[int]:
    from advbench.core.images import chosen

    indices: list[int] = chosen(named, data.total).tolist()
    data.require(max(indices) + 1)
    return indices


def _ranges(named: str) -> list[tuple[int, int]]:
    """Read first and last index of every range, separated by white space or commas, of a text or the file it names."""
    try:
        text = named if re.fullmatch(r"[0-9][0-9,-]*", named) else Path(named).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read image numbers from {named}: {getattr(error, 'strerror', 'not text')}") from None
    words = re.split(r"[\s,]+", text.strip())
    found = [re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word) for word in words]
    ranges = [(int(each[1]), int(each[2] or each[1])) for each in found if each]
    wrong = next((word for word, each in zip(words, found, strict=True) if not each), None)
    if wrong is not None:
        raise UsageError(f"{named} should hold image numbers, from 0, or ranges like 0-99; it has {wrong[:40]!r}")
    if backwards := next(((first, last) for first, last in ranges if last < first), None):
        raise UsageError(f"{named} has the range {backwards[0]}-{backwards[1]}, which ends before it begins")
    return ranges
