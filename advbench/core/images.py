"""Images of a data set: pixel conversion, iteration in parts, selection and digests."""

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
    """Some of the images requested.

    Parameters
    ----------
    at : int
        Position of the first among those requested.
    indices : np.ndarray
        Indices in the data set, `[m]`.
    x : np.ndarray
        float32 `[m, H, W, C]` in [0, 1].
    y : np.ndarray
        Labels, int32 `[m]`.
    """

    at: int
    indices: np.ndarray
    x: np.ndarray
    y: np.ndarray


def pixels(images: np.ndarray) -> np.ndarray:
    """Convert images to the input of models: uint8 to float32 in [0, 1]; float32 images are returned as they are.

    Parameters
    ----------
    images : np.ndarray
        uint8 or float32, of any shape.

    Returns
    -------
    np.ndarray
        float32, of the same shape.
    """
    if images.dtype == np.float32:
        return images
    divided: np.ndarray = np.divide(images, np.float32(255), dtype=np.float32)  # without an array in between
    return divided


PART = 1 << 24  # bytes of float32 images that are in memory at once


def parts(data: Dataset, indices: Sequence[int] | np.ndarray, size: int) -> Iterator[Part]:
    """Iterate over images in order, as many at once as memory should hold.

    Parameters
    ----------
    data : Dataset
        Training set.
    indices : Sequence[int] or np.ndarray
        Indices in the data set.
    size : int
        Images in a batch; parts are a multiple of it.

    Returns
    -------
    Iterator[Part]
        Parts in the order of `indices`.
    """
    chosen = np.asarray(indices)
    few = PART // (4 * math.prod(data.images.shape[1:]))
    step = max(1, few // size) * size
    expect(data.images, chosen)
    for at in range(0, len(chosen), step):
        some = chosen[at : at + step]
        yield Part(at, some, pixels(data.images[some]), data.labels[some].astype(np.int32))


def digest(*arrays: np.ndarray) -> str:
    """Return the sha256 over the bytes of arrays.

    Parameters
    ----------
    *arrays : np.ndarray
        Arrays of any type and shape.

    Returns
    -------
    str
        Hexadecimal digest.
    """
    return sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def chosen(indices: Sequence[int], available: int) -> np.ndarray:
    """Check a selection of images.

    Parameters
    ----------
    indices : Sequence[int]
        Indices as given.
    available : int
        Number of images that exist.

    Returns
    -------
    np.ndarray
        int32 `[n]`.

    Raises
    ------
    UsageError
        When it is empty, repeats an image, or contains one that does not exist.
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
    """Describe a selection: `0..999`, or its size with a digest.

    Parameters
    ----------
    indices : np.ndarray
        int32 `[n]`, not empty.

    Returns
    -------
    str
        Short text.
    """
    first, last = int(indices[0]), int(indices[-1])
    if np.array_equal(indices, np.arange(first, last + 1)):
        return f"{first}..{last}"
    return f"{len(indices)} chosen (sha256 {digest(indices)[:16]})"
