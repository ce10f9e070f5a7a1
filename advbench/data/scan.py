"""Scan of every image of a listing, cached on disk: sizes, damage, range, digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs

from advbench.core.files import write
from advbench.core.reading import Reading
from advbench.data.decode import Undeclared, Unreadable, decode

if TYPE_CHECKING:
    from advbench.data.listing import Listing

VERSION = 1  # of the cache; to be raised when decoding changes
AT_ONCE = 64  # images decoded in parallel
EVERY = 256  # images between two reports of progress


@dataclass(frozen=True)
class Scan:
    """Facts on all images, after resizing and cropping.

    Attributes
    ----------
    count : int
        Readable images.
    corrupt, undeclared : list of (int, str)
        Number and reason of unreadable images, and of those that need a declaration.
    sizes : dict
        Number of images of each (height, width).
    channels : dict
        Number of images of 1, 3 or 4 channels.
    low, high : int
        Range of all pixels.
    digests : dict of int to str
        sha256 of images and labels, as in a `Dataset`, by the number of channels that images are converted to.
    prints : list of str
        Short digest of every image, "" if it can't be read: equal images have equal ones.
    """

    count: int
    corrupt: list[tuple[int, str]]
    undeclared: list[tuple[int, str]]
    sizes: dict[tuple[int, int], int]
    channels: dict[int, int]
    low: int
    high: int
    digests: dict[int, str]
    prints: list[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, C) of the images, if they are of one size."""
        height, width = next(iter(self.sizes))
        return height, width, max(self.channels)

    @property
    def digest(self) -> str:
        """Digest of all readable images and their labels, as in a `Dataset`."""
        return self.digests[max(self.channels)]


def scanned(listing: Listing, reading: Reading, tell: Callable[[int, int], None] | None = None) -> Scan:
    """Scan every image, or load the cached scan.

    Parameters
    ----------
    listing : Listing
        Its `stamp` changes when one of its files does.
    reading : Reading
        Options for image files.
    tell : Callable[[int, int], None], optional
        Called with the number of images scanned and in all.

    Returns
    -------
    Scan
        The scan.
    """
    if known := remembered(listing, reading):
        return known
    path = _place(listing, reading)
    scan = _look(listing, reading, tell or (lambda done, total: None))
    with contextlib.suppress(OSError):  # a read-only cache: the next run scans again
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, _dumped(scan))
    return scan


def remembered(listing: Listing, reading: Reading) -> Scan | None:
    """Load the cached scan; None if there is none.

    Parameters
    ----------
    listing : Listing
        Its `stamp` changes when one of its files does.
    reading : Reading
        Options for image files.

    Returns
    -------
    Scan or None
        The scan.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # absent, damaged, or of another version
        return _loaded(_place(listing, reading).read_bytes(), len(listing.labels))
    return None


def _place(listing: Listing, reading: Reading) -> Path:
    how = (VERSION, reading.resize, reading.crop, reading.interpolation, reading.transparent)
    key = hashlib.sha256(f"{listing.stamp} {how}".encode())
    key.update(listing.labels.astype("<i4").tobytes())
    return platformdirs.user_cache_path("advbench", appauthor=False) / "scans" / f"{key.hexdigest()[:40]}.json"


def _look(listing: Listing, reading: Reading, tell: Callable[[int, int], None]) -> Scan:
    total = len(listing.labels)
    hashes = {channels: hashlib.sha256() for channels in (1, 3, 4)}
    sizes: Counter[tuple[int, int]] = Counter()
    channels: Counter[int] = Counter()
    corrupt: list[tuple[int, str]] = []
    undeclared: list[tuple[int, str]] = []
    prints: list[str] = []
    good: list[int] = []
    low, high = 255, 0
    for at, (image, reason) in enumerate(_decoded(listing, reading)):
        if image is None:
            (undeclared if isinstance(reason, Undeclared) else corrupt).append((at, str(reason)))
            prints.append("")
        else:
            good.append(at)
            sizes[image.shape[:2]] += 1
            channels[image.shape[2]] += 1
            low, high = min(low, int(image.min())), max(high, int(image.max()))
            prints.append(print_of(image))
            hashes[image.shape[2]].update(np.ascontiguousarray(image).data)
            if image.shape[2] == 1:
                hashes[3].update(_coloured(image).data)
        if (at + 1) % EVERY == 0 or at + 1 == total:
            tell(at + 1, total)
    labels = listing.labels[good].astype("<i4").tobytes()
    for each in hashes.values():
        each.update(labels)
    digests = {number: each.hexdigest() for number, each in hashes.items()}
    return Scan(len(good), corrupt, undeclared, dict(sizes), dict(channels), low, high, digests, prints)


def print_of(image: np.ndarray) -> str:
    """Return a short digest of one image; a grey one has that of its three equal channels.

    Parameters
    ----------
    image : np.ndarray
        uint8 `[H, W, C]`.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    key = repr(image.shape[:2]).encode()
    return hashlib.blake2b(_coloured(image).data, digest_size=8, key=key).hexdigest()


def _coloured(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], max(3, image.shape[2]))))


def _decoded(listing: Listing, reading: Reading) -> Iterator[tuple[np.ndarray | None, Exception | None]]:
    """Yield each image, or the error that prevents it, in order; several threads decode."""

    def one(at: int) -> tuple[np.ndarray | None, Exception | None]:
        try:
            return decode(listing.read(at), reading), None
        except OSError as error:
            return None, Unreadable(error.strerror or str(error))
        except (Unreadable, Undeclared) as error:
            return None, error

    with ThreadPoolExecutor(min(8, cpu_count() or 1)) as pool:
        for start in range(0, len(listing.labels), AT_ONCE):
            yield from pool.map(one, range(start, min(start + AT_ONCE, len(listing.labels))))


def _dumped(scan: Scan) -> bytes:
    content: dict[str, Any] = {**vars(scan), "sizes": [[*size, n] for size, n in scan.sizes.items()]}
    return json.dumps(content).encode()


def _loaded(content: bytes, total: int) -> Scan:
    found = json.loads(content)
    found["sizes"] = {(height, width): n for height, width, n in found["sizes"]}
    found["channels"] = {int(channels): n for channels, n in found["channels"].items()}
    found["digests"] = {int(channels): digest for channels, digest in found["digests"].items()}
    found["corrupt"], found["undeclared"] = ([(at, why) for at, why in found[k]] for k in ("corrupt", "undeclared"))
    if len(found["prints"]) != total:
        raise ValueError("of another listing")
    return Scan(**found)
