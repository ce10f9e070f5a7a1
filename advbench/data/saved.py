"""Folders written by `datasets.save_to_disk`: Arrow files, and JSON that describes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from advbench.core.arrays import numbered
from advbench.core.errors import DataUnavailable, UsageError
from advbench.data.columns import (
    arrow,
    columns,
    content,
    features_of,
    reading,
)
from advbench.data.formats import CorruptData
from advbench.data.listing import (
    DataSource,
    Listing,
    Part,
    stamp,
)
from advbench.data.splits import ALL, NAMES

WHOLE, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def find(path: Path, name: str) -> DataSource:
    """Describe such a folder: a data set, or one with splits.

    Parameters
    ----------
    path : Path
        Path of the folder.
    name : str
        Name of the data.

    Returns
    -------
    DataSource
        Splits, read on demand.

    Raises
    ------
    DataUnavailable
        When a file can't be read, or is damaged (`CorruptData`).
    """
    if (path / WHOLE).is_file():
        named = _json(path / WHOLE).get("splits")
        if not isinstance(named, list) or not named:
            raise CorruptData(f"{path / WHOLE} names no splits")
        parts = {NAMES.get(str(split), str(split)): path / Path(str(split)).name for split in named}
    else:
        info = _json(path / STATE).get("_split")
        parts = {NAMES.get(str(info), ALL): path}
    features = _json(next(iter(parts.values())) / INFO).get("features") or {}
    label = next((key for key, value in features.items() if isinstance(value, dict) and value.get("names")), None)
    classes = tuple(map(str, features[label]["names"])) if label else None
    splits: dict[str, Callable[[], Part]] = {split: partial(_listing, folder) for split, folder in parts.items()}
    return DataSource(name, str(path), splits, classes, "folder of datasets.save_to_disk")


def _listing(folder: Path) -> Listing:
    pa = arrow()
    files = _files(folder)
    tables = []
    for file in files:
        with reading(file):
            tables.append(pa.ipc.open_stream(pa.memory_map(str(file))).read_all())
    with reading(folder):
        table = pa.concat_tables(tables)
        found = columns(table.schema, _json(folder / INFO).get("features") or features_of(table.schema), str(folder))
        values = table[found.label].to_pylist()
    if not values:
        raise UsageError(f"{folder} has no rows")
    labels, _ = numbered(values, found.classes, str(folder))
    images = table[found.image]
    names = [f"{folder} row {row}" for row in range(len(values))]
    return Listing(names, labels, lambda at: content(images[at].as_py(), found.image), stamp(files, found.image))


def _files(folder: Path) -> list[Path]:
    """List the Arrow files, which must be in the folder itself."""
    listed = _json(folder / STATE).get("_data_files")
    try:
        names = [str(entry["filename"]) for entry in listed or ()]
    except (TypeError, KeyError):
        names = []
    if not names or any(Path(name).name != name for name in names):
        raise CorruptData(f"{folder / STATE} does not name Arrow files of this folder")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataUnavailable(f"{folder} lacks {', '.join(missing)}")
    return [folder / name for name in names]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror}") from None
    except ValueError:
        raise CorruptData(f"{path} is damaged: it is no JSON") from None
    if not isinstance(found, dict):
        raise CorruptData(f"{path} is damaged: it holds no object")
    return found
