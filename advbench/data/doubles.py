"""Images that are in two splits of one's own data, where finding them costs little."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from advbench.core.arrays import Arrays
from advbench.core.dataset import Dataset
from advbench.core.errors import AdvbenchError
from advbench.core.reading import Reading
from advbench.data.listing import KEEP, Pictures, Source, prepared
from advbench.data.scan import print_of, remembered, scanned

FEW = 1000  # images of another split that are looked at for this alone; of more, only what is known already
LARGEST = 1 << 26  # bytes of arrays, shards and tables that are read for it
MOST = 20_000  # images of a split that are compared: another one beside it takes long merely to be listed


def twins(found: Dataset, source: Source, reading: Reading) -> tuple[str, ...]:
    """A line for every other split that has images of this one.

    Arrays are compared by their content, files of images by the digests of the look that was taken at them. Of a split
    at which none was taken yet, only `FEW` images are looked at for this. Nothing large is read, no code is run.

    Parameters
    ----------
    found : Dataset
        The split.
    source, reading
        All splits, and how image files are read.
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


def _light(source: Source) -> bool:
    """Whether another split is cheap to open: not where code makes it, nor where the files named hold very much."""
    if source.kind == "function":
        return False
    path = Path(source.path)
    files = [each for each in path.iterdir() if each.is_file()] if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files) <= LARGEST


def _own(found: Dataset, reading: Reading) -> Sequence[str]:
    """A print of every image of a split that is open."""
    images = found.images
    if isinstance(images, np.ndarray):
        return [print_of(image) for image in images] if images.nbytes <= KEEP else ()
    if isinstance(images, Pictures) and len(images) <= MOST and (scan := remembered(images.listing, reading)):
        return [scan.prints[at] for at in images.kept.tolist()]
    return ()


def _prints(source: Source, split: str, reading: Reading) -> Sequence[str]:
    """Likewise of another one; what is wrong with it matters to whoever asks for it."""
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
