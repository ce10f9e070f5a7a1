"""Parquet files as written by Hugging Face's datasets, each a part of one split."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

from advbench.core.arrays import numbered
from advbench.core.errors import UsageError
from advbench.data.columns import (
    Columns,
    arrow,
    columns,
    content,
    features_of,
    reading,
)
from advbench.data.listing import (
    DataSource,
    Listing,
    Part,
    stamp,
)
from advbench.data.splits import by_split

GROUPS = 4  # row groups held in memory: consecutive images are in the same group


def find(files: Sequence[Path], path: Path, name: str) -> DataSource:
    """Describe Parquet files; a file's name tells its split, as in `train-00000-of-00002.parquet`.

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
        When there is no column of images or labels.
    DataUnavailable
        When a file can't be read, or pyarrow is not installed.
    """
    parts = by_split(files)
    first = next(iter(parts.values()))[0]
    with reading(first):
        schema = arrow().parquet.read_schema(first)
    found = columns(schema, features_of(schema), str(first))
    classes = found.classes or _words(files, found)
    splits: dict[str, Callable[[], Part]] = {
        split: partial(_listing, some, found, classes) for split, some in parts.items()
    }
    return DataSource(name, str(path), splits, classes, "Parquet")


def _words(files: Sequence[Path], found: Columns) -> tuple[str, ...] | None:
    """Collect the classes of labels that are words, over all splits."""
    values: set[Any] = set()
    for file in files:
        with reading(file):
            values |= set(arrow().parquet.read_table(file, columns=[found.label])[found.label].to_pylist())
    return tuple(sorted(values)) if values and all(isinstance(value, str) for value in values) else None


def _listing(files: Sequence[Path], found: Columns, classes: tuple[str, ...] | None) -> Listing:
    labels: list[Any] = []
    names: list[str] = []
    starts: list[int] = []
    groups: list[tuple[Path, int]] = []
    for file in files:
        with reading(file):
            table = arrow().parquet.ParquetFile(file)
            for group in range(table.metadata.num_row_groups):
                groups.append((file, group))
                starts.append(len(labels))
                rows = table.read_row_group(group, columns=[found.label])[found.label].to_pylist()
                names += [f"{file} row {len(names) + at}" for at in range(len(rows))]
                labels += rows
    if not labels:
        raise UsageError(f"{files[0]} has no rows")
    numbers, _ = numbered(labels, classes, str(files[0]))
    return Listing(names, numbers, _Reader(groups, starts, found.image), stamp(files, found.image))


class _Reader:
    """Reads an image with the row group that contains it."""

    def __init__(self, groups: Sequence[tuple[Path, int]], starts: Sequence[int], column: str):
        self.groups, self.starts, self.column, self.lock = groups, starts, column, Lock()
        self.rows = lru_cache(GROUPS)(self._rows)

    def __call__(self, index: int) -> bytes:
        group = bisect_right(self.starts, index) - 1
        with self.lock:
            rows = self.rows(group)
        return content(rows[index - self.starts[group]].as_py(), self.column)

    def _rows(self, group: int) -> Any:
        file, number = self.groups[group]
        with reading(file):
            return arrow().parquet.ParquetFile(file).read_row_group(number, columns=[self.column])[self.column]
