"""Loading of all data: a built-in name, a folder, a file, or a function of the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from advbench.core.dataset import Dataset
from advbench.core.errors import DataUnavailable, UsageError, unknown
from advbench.core.reading import Reading
from advbench.data import (
    factory,
    folder,
    mat,
    npz,
    parquet,
    saved,
    shards,
    store,
    table,
)
from advbench.data.catalog import DATASETS, known
from advbench.data.doubles import twins
from advbench.data.listing import DataSource, dataset
from advbench.data.splits import serving

KINDS = "a folder with a subfolder a class, .npz, .npy, .parquet, .csv, .tar, .mat, or file.py:function"

PACKED = {
    **dict.fromkeys((".tar.gz", ".tgz"), "gunzip"),
    **dict.fromkeys((".tar.zst", ".tzst"), "unzstd"),
    **dict.fromkeys((".tar.bz2", ".tbz2"), "bunzip2"),
    **dict.fromkeys((".tar.xz", ".txz"), "unxz"),
}
"""Endings of compressed shards, and what makes a .tar of them."""

Tell = Callable[[int, int], None]


def load(
    name_or_path: str | Path,
    split: str = "test",
    *,
    reading: Reading | None = None,
    data_dir: Path | None = None,
    tell: Tell | None = None,
) -> Dataset:
    """Load one split of a data set: a published one by name, or one of your own by path.

    Parameters
    ----------
    name_or_path : str or Path
        A name in `DATASETS`; or a folder in which every subfolder is a class (in folders named train, val, test, where
        there are such), a folder of Parquet files, WebDataset shards or `datasets.save_to_disk`; a file of NumPy
        (`.npz`, `.npy`), Parquet, WebDataset (`.tar`), MATLAB as SVHN has it (`.mat`), or a `.csv` of paths and labels;
        or `file.py:function`, which returns `(images, labels)` or a `Dataset`. This runs the user's code.
    split : str
        "test" or "train". Where there is no test split, "val" serves as one, and else all there is; where there is no
        train split, all there is.
    reading : Reading, optional
        Options for image files: size, class names, and whether to skip damaged images.
    data_dir : Path, optional
        Folder of published data sets; see `data_folder`.
    tell : callable, optional
        Called with the number of images scanned and in all, if that takes a while: once, since scans are cached.

    Returns
    -------
    Dataset
        Images in the order of the data set. More than 256 MB of them are decoded on demand.

    Raises
    ------
    UsageError
        If there is no such data set or split, or its images can't be taken as they are.
    CorruptData
        If files are damaged; it names all of them.
    DataUnavailable
        If something can't be read, or has to be fetched.

    Examples
    --------
    >>> from advbench.data import load
    >>> load("mnist", "test").shape
    (28, 28, 1)
    """
    text = str(name_or_path)
    if published := known(text):
        text = published
        if reading:
            raise UsageError(f"{text} is read as published: --resize, --classes and such are for data of your own")
        return store.load(text, split, data_dir=data_dir)
    source = opened(text)
    serves = serving(split, source.splits, text)
    found = dataset(source, serves, reading or Reading(), tell)
    return replace(found, notes=(*found.notes, *twins(found, source, reading or Reading())))


def validation(name_or_path: str | Path, *, reading: Reading | None = None, tell: Tell | None = None) -> Dataset | None:
    """Load the validation split of user data that also have train and test splits; None if there is none.

    Without a test split, attacks use the validation split, and weights chosen on it would look better than they are:
    then there is none. Errors are those of `load`.

    Parameters
    ----------
    name_or_path : str or Path
        As for `load`.
    reading : Reading, optional
        Options for image files.
    tell : Tell, optional
        Called with the number of images scanned and in all.

    Returns
    -------
    Dataset or None
        The split.
    """
    if known(str(name_or_path)):
        return None
    there = opened(str(name_or_path)).splits
    return load(name_or_path, "val", reading=reading, tell=tell) if {"train", "val", "test"} <= there.keys() else None


def opened(text: str) -> DataSource:
    """Describe the data at a path, before any image is read; errors are those of `load`.

    Parameters
    ----------
    text : str
        Path, or `file.py:function`.

    Returns
    -------
    DataSource
        Splits, read on demand.
    """
    where, colon, function = text.rpartition(":")
    if colon and function.isidentifier() and (where.endswith(".py") or _is_module(where)):
        return factory.find(where, function)
    path = Path(text)
    name = _name(path)
    try:
        if path.is_dir():
            return _of_folder(path, name)
        if path.is_file():
            return _of_file(path, name)
    except PermissionError as error:
        raise DataUnavailable(f"can't read {error.filename}: {error.strerror}") from None
    if re.fullmatch(r"[\w-]+", text):
        raise UsageError(f"{unknown('data set', text, DATASETS)}; or {KINDS}")
    raise DataUnavailable(f"no data at {text}")


def again(name: str, source: str, split: str, reading: Mapping[str, Any], tell: Tell | None = None) -> Dataset:
    """Load the data of a record: from its origin, unless that is code.

    Parameters
    ----------
    name : str
        Name of the data.
    source : str
        Origin of the data.
    split : str
        Split of the data.
    reading : Mapping[str, Any]
        Record of the options for image files.
    tell : Tell, optional
        As for `load`.

    Returns
    -------
    Dataset
        The split.

    Raises
    ------
    UsageError
        When the data come from memory or from code: a file received from others must not choose the code that runs.
    AdvbenchError
        As `load`.
    """
    if name in DATASETS:
        return load(name, split, reading=Reading.of(reading))
    if ":" in source or source in ("", "memory"):
        what = "were arrays in memory" if source in ("", "memory") else f"are made by code, {source}"
        raise UsageError(f"the data {name} {what}: name them with --data, if you trust it")
    if not Path(source).exists():
        raise DataUnavailable(f"the data {name} are not at {source} any more: name them with --data")
    return load(source, split, reading=Reading.of(reading), tell=tell)


def _is_module(where: str) -> bool:
    return all(part.isidentifier() for part in where.split(".")) and not Path(where).exists()


def _name(path: Path) -> str:
    stem = path.resolve().name
    for suffix in path.suffixes if path.is_file() else ():
        stem = stem.removesuffix(suffix)
    return f"{stem} (own)" if stem in DATASETS else stem


def _of_folder(path: Path, name: str) -> DataSource:
    if (path / saved.WHOLE).is_file() or (path / saved.STATE).is_file():
        return saved.find(path, name)
    inner = path / "data"  # their location in repositories of the Hugging Face hub
    for place in (path, inner) if inner.is_dir() else (path,):
        if files := sorted(place.glob("*.parquet")):
            return parquet.find(files, path, name)
        if files := sorted(place.glob("*.tar")):
            return shards.find(files, path, name)
    if files := sorted(path.glob("*.npy")):
        return npz.find_pairs(files, path, name)
    if files := sorted(path.glob("*.mat")):
        return mat.find(files, path, name)
    if found := folder.find(path, name):
        return found
    if packed := sorted(each for each in path.iterdir() if each.name.lower().endswith(tuple(PACKED))):
        raise UsageError(_unpack(packed[0]))
    raise UsageError(f"{path} holds no data that is known: it should be {KINDS}")


def _unpack(path: Path) -> str:
    """Explain that a compressed shard can't be read: a compressed stream allows no access to single images."""
    packer = next(tool for ending, tool in PACKED.items() if path.name.lower().endswith(ending))
    return f"{path} is compressed, and shards are read image by image where they lie: unpack it first ({packer})"


def _of_file(path: Path, name: str) -> DataSource:
    suffix = path.suffix.lower()
    if path.name.lower().endswith(tuple(PACKED)):
        raise UsageError(_unpack(path))
    if suffix == ".npz":
        return npz.find(path, name)
    if suffix == ".npy":
        return npz.find_pairs(sorted(path.parent.glob("*.npy")), path, name)
    if suffix == ".parquet":
        return parquet.find([path], path, name)
    if suffix == ".tar":
        return shards.find([path], path, name)
    if suffix == ".mat":
        return mat.find([path], path, name)
    if suffix == ".csv":
        return table.find(path, name)
    raise UsageError(f"{path} is no data that is known: it should be {KINDS}")
