"""Overview of the data at a path, split by split: counts, sizes, ranges, digests, duplicates, ten thumbnails."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from advbench.core.dataset import Dataset
from advbench.core.lazy import chunks, content_digest
from advbench.core.reading import Reading
from advbench.data import store
from advbench.data.catalog import known
from advbench.data.decode import decode
from advbench.data.listing import DataSource, Listing, prepared
from advbench.data.opening import opened
from advbench.data.scan import print_of, scanned

THUMBNAILS, SIDE, GAP = 10, 96, 4  # number, side and distance in pixels
SHOWN = 10  # images named


@dataclass(frozen=True)
class Overview:
    """One split.

    Attributes
    ----------
    split : str
        Name of the split.
    images : int
        Readable images.
    counts : dict of str to int
        Images of every class, by name.
    sizes : dict of str to int
        Images of every size, like "32x32x3".
    low, high : int
        Range of all pixels, of 0 to 255.
    digest : str
        sha256 of images and labels, as in a `Dataset`; "" if images are of several sizes.
    corrupt, undeclared : tuple of str
        Images that can't be read, or not without a declaration, each with its reason.
    twice : int
        Images that occur earlier in this split.
    elsewhere : dict of str to tuple of str
        For each other split, images that occur in it too.
    notes : tuple of str
        Further remarks.
    """

    split: str
    images: int
    counts: dict[str, int]
    sizes: dict[str, int]
    low: int
    high: int
    digest: str
    corrupt: tuple[str, ...]
    undeclared: tuple[str, ...]
    twice: int
    elsewhere: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    overview: Overview
    names: Sequence[str]
    prints: Sequence[str]
    picture: Callable[[int], np.ndarray]
    labels: np.ndarray


def inspect(
    text: str, reading: Reading | None = None, tell: Callable[[int, int], None] | None = None
) -> tuple[str, list[Overview], bytes]:
    """Scan all images of all splits.

    Parameters
    ----------
    text : str
        Name or path, as for `load`.
    reading : Reading, optional
        Options for image files.
    tell : Callable[[int, int], None], optional
        Called with the number of images of a split scanned and in all.

    Returns
    -------
    tuple[str, list[Overview], bytes]
        The format in words, every split, and ten images as one PNG file.

    Raises
    ------
    AdvbenchError
        When there are no data.
    """
    reading = reading or Reading()
    if published := known(text):
        text = published
        seen = [_array(store.load(text, split), ()) for split in _here(text)]
        kind = "published data set"
    else:
        source = opened(text)
        seen = [_split(source, split, reading, tell) for split in source.splits]
        kind = source.kind
    for at, later in enumerate(seen):
        for before in seen[:at]:
            there = set(before.prints) - {""}
            both = [name for name, each in zip(later.names, later.prints, strict=True) if each in there]
            if both:
                later.overview.elsewhere[before.overview.split] = tuple(both)
    return kind, [each.overview for each in seen], _sheet(seen)


def _here(name: str) -> list[str]:
    return [status.split for status in store.info() if status.name == name and status.available]


def _split(source: DataSource, split: str, reading: Reading, tell: Callable[[int, int], None] | None) -> _Seen:
    part, labels, classes, notes = prepared(source, split, reading)
    if not isinstance(part, Listing):
        data = Dataset(source.name, split, part.images, labels, classes, source.path, "", len(labels), reading)
        return _array(data, (*part.notes, *notes))
    scan = scanned(part, reading, tell)
    overview = Overview(
        split=split,
        images=scan.count,
        counts=_counts(labels[[at for at, each in enumerate(scan.prints) if each]], classes),
        sizes={f"{h}x{w}x{max(scan.channels)}": n for (h, w), n in sorted(scan.sizes.items(), key=lambda s: -s[1])},
        low=scan.low,
        high=scan.high,
        digest=scan.digest if len(scan.sizes) == 1 else "",
        corrupt=tuple(f"{part.names[at]}: {why}" for at, why in scan.corrupt),
        undeclared=tuple(f"{part.names[at]}: {why}" for at, why in scan.undeclared),
        twice=_twice(scan.prints),
        elsewhere={},
        notes=tuple(notes),
    )
    names = part.names
    return _Seen(overview, names, scan.prints, lambda at: decode(part.read(at), reading), labels)


def _array(data: Dataset, notes: Sequence[str]) -> _Seen:
    prints: list[str] = []
    low, high = 255, 0
    for chunk in chunks(data.images):
        low, high = min(low, int(chunk.min())), max(high, int(chunk.max()))
        prints += map(print_of, chunk)
    overview = Overview(
        split=data.split,
        images=len(data),
        counts=_counts(data.labels, data.classes),
        sizes={"x".join(map(str, data.shape)): len(data)},
        low=low,
        high=high,
        digest=content_digest(data.images, data.labels),
        corrupt=(),
        undeclared=(),
        twice=_twice(prints),
        elsewhere={},
        notes=tuple(notes),
    )
    names = [f"image {at}" for at in range(len(data))]
    return _Seen(overview, names, prints, lambda at: np.asarray(data.images[at]), data.labels)


def _counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    found = np.bincount(labels, minlength=len(classes)).tolist()
    return dict(zip(classes, found, strict=False))


def _twice(prints: Sequence[str]) -> int:
    return sum(n - 1 for each, n in Counter(prints).items() if each)


def _sheet(seen: Sequence[_Seen]) -> bytes:
    """Draw ten images of the last split that has any, of as many classes as possible, side by side."""
    shown: list[Any] = []
    for each in reversed(seen):
        rank: Counter[int] = Counter()
        order = []
        for at, label in enumerate(each.labels.tolist()):
            if each.prints[at]:
                order.append((rank[label], label, at))
                rank[label] += 1
        shown = [each.picture(at) for _, _, at in sorted(order)[:THUMBNAILS]]
        if shown:
            break
    across = -(-max(len(shown), 1) // 2)
    cell = SIDE + GAP
    sheet = Image.new("RGB", (across * cell + GAP, (2 if len(shown) > across else 1) * cell + GAP), "white")
    for number, pixels in enumerate(shown):
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        grow = SIDE / max(picture.size)
        size = tuple(max(1, round(side * grow)) for side in picture.size)
        filter_ = Image.Resampling.NEAREST if grow >= 2 else Image.Resampling.BICUBIC
        small = picture.convert("RGB").resize((size[0], size[1]), filter_)
        row, column = divmod(number, across)
        left, top = GAP + column * cell + (SIDE - size[0]) // 2, GAP + row * cell + (SIDE - size[1]) // 2
        sheet.paste(small, (left, top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
