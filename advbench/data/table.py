"""A CSV file of paths and labels, and of splits if it has such a column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from advbench.core.arrays import numbered
from advbench.core.errors import DataUnavailable, UsageError
from advbench.data.listing import (
    DataSource,
    Listing,
    Part,
    stamp,
)
from advbench.data.splits import ALL, NAMES

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img")
LABELS = ("label", "labels", "class", "target", "category", "class_id", "y")
SPLITS = ("split", "set", "subset", "partition")

Row = tuple[str, str]  # path, label


def find(path: Path, name: str) -> DataSource:
    """Describe the images that a CSV file lists; they are beside it, or at their absolute paths.

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
        When it is no such table.
    DataUnavailable
        When it can't be read.
    """
    parts = _rows(path)
    everything = [label for rows in parts.values() for _, label in rows]
    words = not all(label.isdecimal() for label in everything)
    classes = tuple(sorted(set(everything))) if words else None
    splits: dict[str, Callable[[], Part]] = {
        split: partial(_listing, path, rows, classes) for split, rows in parts.items()
    }
    return DataSource(name, str(path), splits, classes, "CSV of paths and labels")


def _rows(path: Path) -> dict[str, list[Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file)
            header = [word.strip().lower() for word in next(table, [])]
            where, label, split = (_column(header, names) for names in (PATHS, LABELS, SPLITS))
            if where is None or label is None:
                raise UsageError(
                    f"{path}: the first line names no column of paths and labels, like path,label: {', '.join(header)}"
                )
            parts: dict[str, list[Row]] = {}
            for row in table:
                if not row:
                    continue
                if len(row) != len(header):
                    raise UsageError(f"{path}:{table.line_num}: {len(row)} values under {len(header)} columns")
                word = ALL if split is None else row[split].strip().lower()
                parts.setdefault(NAMES.get(word, word), []).append((row[where].strip(), row[label].strip()))
    except OSError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file in UTF-8: {error}") from None
    if not parts:
        raise UsageError(f"{path} lists no images")
    return parts


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _listing(path: Path, rows: Sequence[Row], classes: tuple[str, ...] | None) -> Part:
    files = [path.parent / name for name, _ in rows]
    if missing := [str(file) for file in files if not file.is_file()]:
        some = ", ".join(missing[:5] + ["..."] * (len(missing) > 5))
        raise DataUnavailable(f"{path} lists {len(missing):,} files that are not there: {some}")
    labels, _ = numbered([label if classes else int(label) for _, label in rows], classes, str(path))
    names = [str(file) for file in files]
    return Listing(names, labels, lambda at: files[at].read_bytes(), stamp([path, *files]))
