"""Images that occur in two splits of user data, where finding them is cheap."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from advbench.core.arrays import Arrays
from advbench.core.dataset import Dataset
from advbench.core.errors import AdvbenchError
from advbench.core.reading import Reading
from advbench.data.listing import KEEP, DataSource, Pictures, prepared
from advbench.data.scan import print_of, remembered, scanned

FEW = 1000  # images of another split that are scanned for this alone
LARGEST = 1 << 26  # bytes of arrays, shards and tables that may be read for it
MOST = 20_000  # images of a split that are compared: merely listing more takes long


def twins(found: Dataset, source: DataSource, reading: Reading) -> tuple[str, ...]:
    """Describe images of a split that occur in other splits.

    Arrays are compared by their content, image files by the digests of their scan. A split without a cached scan is
    scanned only if it has at most `FEW` images. Nothing large is read, no code is run.

    Parameters
    ----------
    found : Dataset
        The split.
    source : DataSource
        All splits.
    reading : Reading
        Options for image files.

    Returns
    -------
    tuple[str, ...]
        A line for every other split that shares images.
    """
    others = [other for other in source.splits if other != found.split]
    if not others or not _light(source) or not (own := _own(found, reading)):
        return ()
    lines = []
    for other in others:
        there = set(_prints(source, other, reading)) - {""}
        if both := [at for at, each in enumerate(own) if each in there]:
            lines.append(f"{len(both):,} of {len(own):,} images are in {other} too, the first of them number {both[0]}")
    return tuple(lines)


def _light(source: DataSource) -> bool:
    """Tell whether another split is cheap to open: not one made by code, nor large files."""
    if source.kind == "function":
        return False
    path = Path(source.path)
    files = [each for each in path.iterdir() if each.is_file()] if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files) <= LARGEST


def _own(found: Dataset, reading: Reading) -> Sequence[str]:
    """Return a digest of every image of a split that is open."""
    images = found.images
    if isinstance(images, np.ndarray):
        return [print_of(image) for image in images] if images.nbytes <= KEEP else ()
    if isinstance(images, Pictures) and len(images) <= MOST and (scan := remembered(images.listing, reading)):
        return [scan.prints[at] for at in images.kept.tolist()]
    return ()


def _prints(source: DataSource, split: str, reading: Reading) -> Sequence[str]:
    """Return the same of another split; its faults matter only to those who load it."""
    with suppress(AdvbenchError):
        part, _, _, _ = prepared(source, split, reading)
        if isinstance(part, Arrays):
            small = isinstance(part.images, np.ndarray) and part.images.nbytes <= KEEP
            return [print_of(image) for image in part.images] if small else ()
        scan = remembered(part, reading)
        if scan is None and len(part.labels) <= FEW:
            scan = scanned(part, reading)
        return scan.prints if scan else ()
    return ()
