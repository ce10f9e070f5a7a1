"""Splits of files and folders, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from advbench.core.errors import UsageError

ALL = "all"  # the only split, of data without splits
WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
NAMES = {word: split for split, words in WORDS.items() for word in words}
INSTEAD = {"test": ("test", "val", ALL), "train": ("train", ALL), "val": ("val",)}
"""Substitutes of a split, in turn, if there is none of its name."""


def split_of(name: str) -> str | None:
    """Return the split in a name like `train-00000-of-00002.parquet`, `x_test.npy` or `valid`; None if there is none.

    Parameters
    ----------
    name : str
        Name of a file or folder.

    Returns
    -------
    str or None
        "train", "val" or "test".

    Examples
    --------
    >>> split_of("train-00000-of-00002.parquet"), split_of("images.npy")
    ('train', None)
    """
    found = {NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in NAMES}
    return found.pop() if len(found) == 1 else None


def by_split(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Group files, in order, by the split in their names; those without one are in "all".

    Parameters
    ----------
    paths : Iterable[Path]
        Paths of the files.

    Returns
    -------
    dict[str, list[Path]]
        Files by split.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        found.setdefault(split_of(path.name) or ALL, []).append(path)
    return found


def serving(wanted: str, there: Mapping[str, object], where: str) -> str:
    """Return the split that is used for the one requested.

    Parameters
    ----------
    wanted : str
        Split requested.
    there : Mapping[str, object]
        Splits that exist.
    where : str
        Origin of the data, for messages.

    Returns
    -------
    str
        A split in `there`.

    Raises
    ------
    UsageError
        When there is none, naming those that exist.

    Examples
    --------
    >>> serving("test", {"train": 1, "val": 2}, "pets")
    'val'
    """
    wanted = NAMES.get(wanted, wanted)
    for name in INSTEAD.get(wanted, (wanted,)):
        if name in there:
            return name
    raise UsageError(f"{where} has no {wanted} split (there are: {', '.join(there)})")
