"""Images decoded on demand, a few batches ahead of their use, in any number."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from threading import Lock
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np

AHEAD = 1 << 27  # bytes of decoded images that may wait to be requested
CHUNK = 1 << 23  # bytes of images in memory at once while iterating over all


@runtime_checkable
class Images(Protocol):
    """Images uint8 `[N, H, W, C]`: an array, or an object that returns arrays of the rows requested."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


class Lazy(ABC):
    """Base of arrays whose rows are made on demand; a subclass makes one row.

    Parameters
    ----------
    shape : tuple of int
        Rows, then the shape of one.
    dtype : dtype
        Of every row.

    Notes
    -----
    Indexing by a number returns one row, by anything else that NumPy accepts there an array of rows. `expect`
    announces the rows requested next: threads prepare them, as many as fit into `AHEAD` bytes, while others are in use.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.uint8):
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self._pool: ThreadPoolExecutor | None = None
        self._ready: dict[int, Future[np.ndarray]] = {}
        self._coming: deque[int] = deque()
        self._lock = Lock()

    @abstractmethod
    def one(self, index: int) -> np.ndarray:
        """Make one row; called from several threads at once.

        Parameters
        ----------
        index : int
            Number of the row, from 0.

        Returns
        -------
        np.ndarray
            The row.
        """

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray: ...
    @overload
    def __getitem__(self, key: Any) -> np.ndarray: ...
    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, tuple):
            first: np.ndarray = self[key[0]]
            return first[key[1:]] if isinstance(key[0], int | np.integer) else first[(slice(None), *key[1:])]
        if isinstance(key, int | np.integer):
            return self._rows([range(len(self))[int(key)]])[0]
        chosen = np.arange(len(self))[key].tolist()
        return np.stack(self._rows(chosen)) if chosen else np.zeros((0, *self.shape[1:]), self.dtype)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Iterate over the rows, prepared ahead."""
        self.expect(range(len(self)))
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows, in memory."""
        rows = self[:]
        return rows if dtype is None else rows.astype(dtype)

    def expect(self, indices: Iterable[int]) -> None:
        """Prepare these rows, in this order, for they are requested next; earlier announcements are dropped.

        Parameters
        ----------
        indices : Iterable[int]
            Numbers of rows.
        """
        with self._lock:
            for future in self._ready.values():
                future.cancel()
            self._ready, self._coming = {}, deque(int(index) for index in indices)
        self._prepare()

    def _prepare(self) -> None:
        room = max(1, AHEAD // max(1, self.row_bytes))
        with self._lock:
            while self._coming and len(self._ready) < room:
                index = self._coming.popleft()
                if index not in self._ready:
                    self._ready[index] = self._threads.submit(self.one, index)

    def _rows(self, indices: list[int]) -> list[np.ndarray]:
        with self._lock:
            found = [self._ready.pop(index, None) for index in indices]
            futures = [
                future or self._threads.submit(self.one, index) for future, index in zip(found, indices, strict=True)
            ]
        rows = [future.result() for future in futures]
        self._prepare()
        return rows

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * int(self.dtype.itemsize)

    @property
    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "advbench-images")
        return self._pool


class Chosen(Lazy):
    """A selection of an array's rows, in an order of its own; the array may be lazy."""

    def __init__(self, images: Images, indices: np.ndarray):
        super().__init__((len(indices), *images.shape[1:]), images.dtype)
        self.images, self.indices = images, np.asarray(indices)

    def one(self, index: int) -> np.ndarray:
        """Return the row of the underlying array.

        Parameters
        ----------
        index : int
            Number of the row in the selection.

        Returns
        -------
        np.ndarray
            The row.
        """
        row: np.ndarray = self.images[int(self.indices[index])]
        return row

    def __getitem__(self, key: Any) -> np.ndarray:
        found: np.ndarray = self.images[self.indices[key]]
        return found

    def expect(self, indices: Iterable[int]) -> None:
        """Announce the rows to the underlying array.

        Parameters
        ----------
        indices : Iterable[int]
            Numbers of rows in the selection.
        """
        expect(self.images, (self.indices[index] for index in indices))


def choose(images: Images, indices: Any) -> Images:
    """Select images without decoding or copying them.

    Parameters
    ----------
    images : Images
        An array, or a `Lazy`.
    indices : Any
        Integers, a mask or a slice.

    Returns
    -------
    Images
        The selected images.
    """
    if isinstance(images, np.ndarray) and isinstance(indices, slice):
        chosen: np.ndarray = images[indices]
        return chosen
    return Chosen(images, np.arange(len(images))[indices])


def expect(images: Images, indices: Iterable[int]) -> None:
    """Announce the images requested next; without effect for arrays.

    Parameters
    ----------
    images : Images
        An array, or a `Lazy`.
    indices : Iterable[int]
        Numbers of images.
    """
    if isinstance(images, Lazy):
        images.expect(indices)


def chunks(images: Images) -> Iterator[np.ndarray]:
    """Iterate over all images in order, a few at a time.

    Parameters
    ----------
    images : Images
        An array, or a `Lazy`.

    Returns
    -------
    Iterator[np.ndarray]
        Arrays `[n, H, W, C]`.
    """
    rows = max(1, CHUNK // max(1, math.prod(images.shape[1:]) * images.dtype.itemsize))
    expect(images, range(len(images)))
    for at in range(0, len(images), rows):
        yield np.asarray(images[at : at + rows])


def content_digest(images: Images, labels: np.ndarray) -> str:
    """Return the sha256 of `images`, followed by `labels` as little-endian int32.

    Parameters
    ----------
    images : Images
        uint8 `[N, H, W, C]`.
    labels : np.ndarray
        Integers `[N]`.

    Returns
    -------
    str
        Hexadecimal digest.
    """
    digest = sha256()
    for chunk in chunks(images):
        digest.update(np.ascontiguousarray(chunk).data)
    digest.update(labels.astype("<i4").tobytes())
    return digest.hexdigest()
