"""A folder of images in which every subfolder is a class; in folders named train, val and test, or in one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from advbench.core.errors import UsageError
from advbench.data.decode import SUFFIXES
from advbench.data.listing import (
    DataSource,
    Listing,
    Part,
    stamp,
)
from advbench.data.splits import ALL, NAMES


def find(path: Path, name: str) -> DataSource | None:
    """Describe a folder of images; None if no subfolder has an image.

    Parameters
    ----------
    path : Path
        Path of the folder.
    name : str
        Name of the data.

    Returns
    -------
    DataSource or None
        Splits, read on demand.

    Raises
    ------
    UsageError
        When two folders hold the same split.
    """
    folders = _folders(path)
    parts: dict[str, list[Path]] = {}
    for folder in folders:
        if (split := NAMES.get(folder.name.lower())) and _folders(folder):
            if split in parts:
                raise UsageError(f"{path} has two {split} folders: {parts[split][0].name} and {folder.name}")
            parts[split] = [folder]
    if not parts:
        if not any(next(_images(folder), None) for folder in folders):
            return None
        parts = {ALL: [path]}
    classes = tuple(sorted({each.name for (folder,) in parts.values() for each in _folders(folder)}))
    splits: dict[str, Callable[[], Part]] = {
        split: partial(_listing, folder, classes) for split, (folder,) in sorted(parts.items(), key=_order)
    }
    return DataSource(name, str(path), splits, classes, "folder of images")


def _order(item: tuple[str, object]) -> int:
    return list(dict.fromkeys(NAMES.values())).index(item[0]) if item[0] != ALL else 0


def _listing(folder: Path, classes: tuple[str, ...]) -> Listing:
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(_images(folder / name))
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise UsageError(f"{folder} has no images ({', '.join(SUFFIXES)}) in its subfolders")
    return Listing(
        [str(path) for path in paths], np.array(labels, np.int32), lambda at: paths[at].read_bytes(), stamp(paths)
    )


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith((".", "_")))


def _images(folder: Path) -> Iterator[Path]:
    """Yield all images in a folder and below; a link to a folder already visited is not followed."""
    seen: set[str] = set()
    for place, within, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            within.clear()
            continue
        seen.add(real)
        within.sort()
        yield from (Path(place, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))
