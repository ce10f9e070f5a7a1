"""WebDataset shards: `000.jpg` and `000.cls` (or `000.json` with a label) side by side. Nothing is extracted."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advbench.core.errors import DataUnavailable, UsageError
from advbench.data.decode import SUFFIXES
from advbench.data.formats import CorruptData
from advbench.data.listing import (
    DataSource,
    Listing,
    Part,
    stamp,
)
from advbench.data.splits import by_split

LABELS = (".cls", ".json")
MOST = 1 << 20  # bytes of a label


class _Image(NamedTuple):
    """Position of an image in a shard."""

    shard: Path
    name: str
    offset: int
    size: int


def find(files: Sequence[Path], path: Path, name: str) -> DataSource:
    """Describe shards; a file's name tells its split, as in `train-000.tar`.

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
    """
    splits: dict[str, Callable[[], Part]] = {split: partial(_listing, some) for split, some in by_split(files).items()}
    return DataSource(name, str(path), splits, None, "WebDataset shards")


def _listing(shards: Sequence[Path]) -> Listing:
    images: list[_Image] = []
    labels: list[int] = []
    for shard in shards:
        found, numbers = _samples(shard)
        images += found
        labels += numbers
    if not images:
        raise UsageError(f"{shards[0]} has no images ({', '.join(SUFFIXES)}) with labels (.cls, or .json)")

    def read(at: int) -> bytes:
        image = images[at]
        with image.shard.open("rb") as file:
            file.seek(image.offset)
            return file.read(image.size)

    names = [f"{image.shard}: {image.name}" for image in images]
    return Listing(names, np.array(labels, np.int32), read, stamp(shards))


def _samples(shard: Path) -> tuple[list[_Image], list[int]]:
    """Read images and labels of one shard, in its order; members are regular files, read in place."""
    images: dict[str, _Image] = {}
    labels: dict[str, int] = {}
    size = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                key, dot, rest = member.name.rpartition("/")[2].partition(".")
                key, suffix = member.name[: len(member.name) - len(dot + rest)], (dot + rest).lower()
                if not member.isreg() or not key:
                    continue
                if member.offset_data + member.size > size:
                    raise CorruptData(f"{shard} is cut off in the middle of {member.name}")
                if suffix in SUFFIXES:
                    if key in images:
                        raise UsageError(f"{shard}: {key} has two images")
                    images[key] = _Image(shard, member.name, member.offset_data, member.size)
                file = archive.extractfile(member) if suffix in LABELS else None
                if file and (label := _label(file.read(MOST), suffix)) is not None:
                    labels.setdefault(key, label)
    except OSError as error:
        raise DataUnavailable(f"can't read {shard}: {error.strerror or error}") from None
    except tarfile.TarError as error:
        raise CorruptData(f"{shard} is no sound, uncompressed tar file: {error}") from None
    if without := [key for key in images if key not in labels]:
        raise UsageError(f"{shard}: {len(without)} images have no label beside them (.cls, .json), like {without[0]}")
    return list(images.values()), [labels[key] for key in images]


def _label(content: bytes, suffix: str) -> int | None:
    """Read a class number: ASCII digits, or `label` or `cls` of a JSON object."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    if suffix == ".json" and isinstance(found, dict):
        found = next((found[name] for name in ("label", "cls", "class") if name in found), None)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
