"""NumPy files: `.npz` with common names, and `.npy` pairs. Nothing is unpickled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from advbench.core.arrays import Arrays, checked
from advbench.core.errors import DataUnavailable, UsageError
from advbench.data.extra import LIMIT, opened, read_header
from advbench.data.formats import CorruptData
from advbench.data.listing import DataSource, Part
from advbench.data.splits import ALL, split_of

IMAGES = ("images", "image", "x", "data", "imgs", "img")
LABELS = ("labels", "label", "y", "targets", "target")
NAMES = ("class_names", "names", "label_names", "classes")

Pair = tuple[str, str]  # names of images and labels


def find(path: Path, name: str) -> DataSource:
    """Describe an `.npz` file.

    Parameters
    ----------
    path : Path
        Path of the file.
    name : str
        Name of the data.

    Returns
    -------
    DataSource
        Splits, read on demand.

    Raises
    ------
    UsageError
        When it has no array of images with one of labels.
    DataUnavailable
        When it can't be read, or is damaged.
    """
    with opened(path) as archive:
        members = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
        names = next((member for member in members if member.lower() in NAMES), None)
        classes = None if names is None else tuple(map(str, _member(path, names).tolist()))
    splits: dict[str, Callable[[], Part]] = {
        split: partial(_pair, path, pair, classes) for split, pair in pairs(members, str(path)).items()
    }
    return DataSource(name, str(path), splits, classes, "NumPy archive")


def pairs(names: Sequence[str], where: str) -> dict[str, Pair]:
    """Pair the names of images and labels, by split.

    Parameters
    ----------
    names : Sequence[str]
        Names of arrays.
    where : str
        Origin of the arrays, for messages.

    Returns
    -------
    dict[str, Pair]
        Names of images and labels, by split.

    Raises
    ------
    UsageError
        When there are none, or two of one kind.
    """
    images, labels = _sorted(names, IMAGES, where), _sorted(names, LABELS, where)
    found = {split: (images[split], labels[split]) for split in images if split in labels}
    if not found:
        told = ", ".join(names[:20]) or "none"
        raise UsageError(f"{where} has no arrays called images and labels, or x_test and y_test (there are: {told})")
    return dict(sorted(found.items(), key=lambda item: ["train", "val", "test", ALL].index(item[0])))


def _sorted(names: Sequence[str], words: Sequence[str], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        parts = re.split(r"[^a-z]+", name.lower())
        split = split_of(name)
        rest = [part for part in parts if part and split_of(part) is None]
        if len(rest) == 1 and rest[0] in words:
            if (key := split or ALL) in found:
                raise UsageError(f"{where} has both {found[key]} and {name}: which are they?")
            found[key] = name
    return found


def _pair(path: Path, pair: Pair, classes: tuple[str, ...] | None) -> Arrays:
    images, labels = (_member(path, name) for name in pair)
    return checked(images, labels, classes, where=str(path))


def _member(path: Path, name: str) -> np.ndarray:
    with opened(path) as archive:
        with archive.open(f"{name}.npy") as stream:
            shape, dtype = read_header(stream)
            if dtype.hasobject:
                raise UsageError(f"{path}: {name!r} holds Python objects, which are not unpickled")
            if (size := int(np.prod(shape, dtype=object)) * dtype.itemsize) > LIMIT:
                raise UsageError(f"{path}: {name!r} takes {size:,} bytes, more than the {LIMIT:,} allowed")
        with archive.open(f"{name}.npy") as stream:
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            return array


def find_pairs(files: Sequence[Path], path: Path, name: str) -> DataSource:
    """Describe `.npy` files side by side; images stay on disk until they are needed.

    Parameters
    ----------
    files : Sequence[Path]
        The files.
    path : Path
        Path as typed.
    name : str
        Name of the data.

    Returns
    -------
    DataSource
        Splits, read on demand.

    Raises
    ------
    UsageError
        When no file of images has one of labels.
    """
    stems: Mapping[str, Path] = {file.stem: file for file in files}
    splits: dict[str, Callable[[], Part]] = {
        split: partial(_files, stems[images], stems[labels])
        for split, (images, labels) in pairs(list(stems), str(path)).items()
    }
    return DataSource(name, str(path), splits, None, "NumPy files")


def _files(images: Path, labels: Path) -> Arrays:
    arrays = []
    for path in (images, labels):
        try:
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except OSError as error:
            raise DataUnavailable(f"can't read {path}: {error.strerror or error}") from None
        except (ValueError, EOFError) as error:
            raise CorruptData(f"{path} is no sound .npy file: {' '.join(str(error).split())}") from None
    return checked(arrays[0], arrays[1], where=str(images))
