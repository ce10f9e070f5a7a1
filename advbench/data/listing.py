"""Encoded images with labels, as every format lists them before decoding; and their conversion to a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from advbench.core.arrays import Arrays, named
from advbench.core.dataset import Dataset
from advbench.core.errors import UsageError
from advbench.core.lazy import Lazy
from advbench.core.reading import Reading
from advbench.data.decode import Undeclared, Unreadable, decode
from advbench.data.formats import CorruptData
from advbench.data.scan import Scan, scanned

KEEP = 1 << 28  # bytes of decoded images kept in memory; larger data are decoded on demand
SHOWN = 20  # things named in a message, before the rest is counted


@dataclass(frozen=True)
class Listing:
    """One split: encoded images and their labels.

    Attributes
    ----------
    names : sequence of str
        Name of each image in messages.
    labels : np.ndarray
        int32 `[N]`.
    read : callable
        Number of an image to its bytes; may be called from several threads at once, and raise OSError.
    stamp : str
        Key of the cached scan: changes whenever one of the files may have changed.
    """

    names: Sequence[str]
    labels: np.ndarray
    read: Callable[[int], bytes]
    stamp: str


Part = Listing | Arrays


@dataclass(frozen=True)
class DataSource:
    """Data at a path: its splits, each read on demand.

    Attributes
    ----------
    name, path : str
        Short, for tables; and as it was typed.
    splits : mapping of str to callable
        By "train", "val" or "test"; "all" if there are no splits.
    classes : tuple of str, optional
        Names of the classes, if the source has them.
    kind : str
        The format, in words.
    """

    name: str
    path: str
    splits: Mapping[str, Callable[[], Part]]
    classes: tuple[str, ...] | None
    kind: str


class Pictures(Lazy):
    """Images of a listing, decoded on demand."""

    def __init__(self, listing: Listing, kept: np.ndarray, shape: tuple[int, int, int], reading: Reading):
        super().__init__((len(kept), *shape))
        self.listing, self.kept, self.reading = listing, kept, reading

    def one(self, index: int) -> np.ndarray:
        """Decode one image.

        Parameters
        ----------
        index : int
            Number of the image, from 0.

        Returns
        -------
        np.ndarray
            uint8 `[H, W, C]`.

        Raises
        ------
        CorruptData
            When the image can't be read any more, or has changed.
        """
        at = int(self.kept[index])
        name, shape = self.listing.names[at], self.shape[1:]
        try:
            image = decode(self.listing.read(at), self.reading)
        except (OSError, Unreadable, Undeclared) as error:
            raise CorruptData(f"{name} can't be read any more: {error}") from None
        if image.shape[:2] != shape[:2] or (image.shape[2] != shape[2] and image.shape[2] != 1):
            raise CorruptData(f"{name} changed: it is {list(image.shape)} now, and was {list(shape)}")
        return np.broadcast_to(image, shape)


def dataset(
    source: DataSource, split: str, reading: Reading, tell: Callable[[int, int], None] | None = None
) -> Dataset:
    """Read one split as a data set.

    Parameters
    ----------
    source : DataSource
        Data with its splits.
    split : str
        A split of the source.
    reading : Reading
        Options for image files.
    tell : Callable[[int, int], None], optional
        Called with the number of images scanned and in all, if that takes a while.

    Returns
    -------
    Dataset
        The split.

    Raises
    ------
    CorruptData
        Naming every image that can't be read, unless they are to be skipped.
    UsageError
        When images are of several sizes, or of an undeclared kind, or a label has no name.
    """
    part, labels, classes, _ = prepared(source, split, reading)
    where = f"{source.path} ({split})"
    if not isinstance(part, Listing):
        told = (*part.notes, *_empty(labels, classes))
        return Dataset(source.name, split, part.images, labels, classes, source.path, "", len(labels), reading, told)
    scan = scanned(part, reading, tell)
    notes = _checked(scan, part, reading, where)
    kept = np.setdiff1d(np.arange(len(part.labels)), [at for at, _ in scan.corrupt])
    labels = labels[kept]
    images: Any = Pictures(part, kept, scan.shape, reading)
    if images.row_bytes * len(images) <= KEEP:
        images.expect(range(len(images)))
        images = images[:]
    return Dataset(
        name=source.name,
        split=split,
        images=images,
        labels=labels,
        classes=classes,
        source=source.path,
        digest=scan.digest,
        total=len(labels),
        reading=reading,
        notes=(*notes, *_empty(labels, classes)),
    )


def prepared(source: DataSource, split: str, reading: Reading) -> tuple[Part, np.ndarray, tuple[str, ...], list[str]]:
    """Read one split without decoding any image.

    Parameters
    ----------
    source : DataSource
        Data with its splits.
    split : str
        A split of the source.
    reading : Reading
        Options for image files.

    Returns
    -------
    tuple[Part, np.ndarray, tuple[str, ...], list[str]]
        Its part, labels and class names as declared, and remarks on empty classes.

    Raises
    ------
    UsageError
        For a label without a name, or where arrays are to be resized.
    """
    part = source.splits[split]()
    where = f"{source.path} ({split})"
    if isinstance(part, Arrays):
        if declared := [word for word in ("resize", "crop", "transparent") if getattr(reading, word) is not None]:
            raise UsageError(f"{where} holds arrays of one size: --{declared[0]} is for image files")
        source = source if source.classes else replace(source, classes=part.classes)
    labels, classes = _classes(part.labels, source, reading, where)
    if isinstance(part, Listing):
        part = replace(part, labels=labels)
    return part, labels, classes, _empty(labels, classes)


def _classes(
    labels: np.ndarray, source: DataSource, reading: Reading, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels and class names: declared names reorder those of the source, or rename them in turn.

    Raises
    ------
    UsageError
        For a label without a name.
    """
    own, declared = source.classes, reading.classes
    if declared is None or own is None or own == tuple(map(str, range(len(own)))):  # numbers are no names
        return labels, named(labels, declared or own, f"{where}: ")
    if set(own) <= set(declared):
        return np.array([declared.index(name) for name in own], np.int32)[labels], declared
    if len(own) != len(declared):
        lacking = [name for name in own if name not in declared]
        raise UsageError(
            f"{where} has {len(own)} classes and --classes names {len(declared)}: {_some(lacking)} are not among them"
        )
    return labels, declared


def _checked(scan: Scan, listing: Listing, reading: Reading, where: str) -> list[str]:
    """Refuse unusable images; return remarks on usable ones."""
    if scan.undeclared:
        faults = [f"{listing.names[at]}: {why}" for at, why in scan.undeclared]
        raise UsageError(
            f"{len(faults)} of {len(listing.labels):,} images of {where} can't be taken as they are:{_list(faults)}"
        )
    faults = [f"{listing.names[at]}: {why}" for at, why in scan.corrupt]
    if faults and not reading.skip_corrupt:
        raise CorruptData(
            f"{len(faults)} of {len(listing.labels):,} images of {where} can't be read "
            f"(--skip-corrupt leaves them out):{_list(faults)}"
        )
    if not scan.sizes:
        raise CorruptData(f"{where} has no image that can be read:{_list(faults)}")
    if len(scan.sizes) > 1:
        raise UsageError(f"{where} has {_sizes(scan)}; {_advice(reading)}")
    notes = []
    if faults:
        notes.append(f"{len(faults)} of {len(listing.labels):,} images can't be read and were left out")
    if len(scan.channels) > 1:
        grey = scan.channels.get(1, 0)
        notes.append(
            f"{grey:,} of {scan.count:,} images are grey and were given three equal channels, as the others have"
        )
    return notes


def _list(faults: Sequence[str]) -> str:
    rest = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "".join(f"\n  {line}" for line in [*faults[:SHOWN], *rest])


def _sizes(scan: Scan) -> str:
    most = sorted(scan.sizes.items(), key=lambda pair: -pair[1])
    told = [f"{n:,} of {height}x{width}" for (height, width), n in most[:3]] + (["..."] if len(most) > 3 else [])
    return f"images of {len(most):,} sizes ({', '.join(told)})"


def _advice(reading: Reading) -> str:
    if reading.resize and not reading.crop:
        return f"--resize brings the shorter side to {reading.resize}: add --crop {reading.resize}"
    return "bring them to the size that the model is for, like --resize 256 --crop 224 --interpolation bicubic"


def _empty(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    there = set(np.unique(labels).tolist())
    empty = [name for at, name in enumerate(classes) if at not in there]
    if not empty:
        return []
    return [f"{len(empty)} of {len(classes)} classes have no image: {_some(empty)}"]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def stamp(paths: Sequence[Path], *more: object) -> str:
    """Return a text that changes when one of the files does: hash of paths, sizes and times, and further facts.

    Parameters
    ----------
    paths : Sequence[Path]
        Paths of the files.
    *more : object
        Further facts, hashed by their `repr`.

    Returns
    -------
    str
        Hexadecimal digest.
    """
    digest = hashlib.sha256(repr(more).encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
