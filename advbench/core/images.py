"""Images as they are stored, chosen, named and seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advbench.core.errors import UsageError
from advbench.core.lazy import expect

if TYPE_CHECKING:
    from advbench.core.dataset import Dataset


class Part(NamedTuple):
    """Some of the images asked for."""

    at: int  # place of the first among them
    indices: np.ndarray  # in the data set, [m]
    x: np.ndarray  # float32 [m, H, W, C] in [0, 1]
    y: np.ndarray  # int32 [m]


def pixels(images: np.ndarray) -> np.ndarray:
    """Images as models see them: uint8 -> float32 in [0, 1]; float32 ones are so already."""
    if images.dtype == np.float32:
        return images
    return images.astype(np.float32) / np.float32(255)


PART = 1 << 26  # bytes of float32 images that are in memory at once


def parts(data: Dataset, indices: Sequence[int] | np.ndarray, size: int) -> Iterator[Part]:
    """The images of these numbers in order, as many at once as memory should hold: a multiple of `size`."""
    chosen = np.asarray(indices)
    few = PART // (4 * math.prod(data.images.shape[1:]))
    step = max(1, few // size) * size
    expect(data.images, chosen)
    for at in range(0, len(chosen), step):
        some = chosen[at : at + step]
        yield Part(at, some, pixels(data.images[some]), data.labels[some].astype(np.int32))


def digest(*arrays: np.ndarray) -> str:
    """sha256 over the bytes of arrays."""
    return sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def chosen(indices: Sequence[int], available: int) -> np.ndarray:
    """Check which images were asked for.

    Raises
    ------
    UsageError
        When there is none, one is named twice, or one is not among the `available`.
    """
    array = np.asarray(indices)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise UsageError("give at least one image, by whole numbers")
    outside = array[(array < 0) | (array >= available)]
    if outside.size:
        raise UsageError(f"there is no image {outside[0]}: the data has {available}, from 0 to {available - 1}")
    if len(np.unique(array)) < len(array):
        raise UsageError("an image is named twice")
    return array.astype(np.int32)


def in_words(indices: np.ndarray) -> str:
    """`0..999`, or how many, with a digest."""
    first, last = int(indices[0]), int(indices[-1])
    if np.array_equal(indices, np.arange(first, last + 1)):
        return f"{first}..{last}"
    return f"{len(indices)} chosen (sha256 {digest(indices)[:16]})"
