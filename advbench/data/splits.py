"""Which split a file or folder belongs to, by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from advbench.core.errors import UsageError

ALL = "all"  # the split of what has none
WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
NAMES = {word: split for split, words in WORDS.items() for word in words}
INSTEAD = {"test": ("test", "val", ALL), "train": ("train", ALL), "val": ("val",)}
"""What serves as a split, in turn, where there is none of its name."""


def split_of(name: str) -> str | None:
    """The split that a name like `train-00000-of-00002.parquet`, `x_test.npy` or `valid` tells, if it tells one."""
    found = {NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in NAMES}
    return found.pop() if len(found) == 1 else None


def by_split(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Files, in order, by the split that their names tell; those that tell none are of one called "all"."""
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        found.setdefault(split_of(path.name) or ALL, []).append(path)
    return found


def serving(wanted: str, there: Mapping[str, object], where: str) -> str:
    """The split that serves as the one that is wanted.

    Raises
    ------
    UsageError
        When there is none, naming those that there are.
    """
    wanted = NAMES.get(wanted, wanted)
    for name in INSTEAD.get(wanted, (wanted,)):
        if name in there:
            return name
    raise UsageError(f"{where} has no {wanted} split (there are: {', '.join(there)})")
