"""Calls on batches of a fixed size: the last is padded, and when memory is exhausted the size is halved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from advbench.core import devices
from advbench.core.ambient import own_settings
from advbench.core.errors import DataUnavailable
from advbench.core.external import raised


class Batches:
    """Maps functions over images in few fixed shapes, so that nothing recompiles.

    Parameters
    ----------
    limit : int
        Most images in one call; halved permanently whenever a call runs out of memory.
    """

    def __init__(self, limit: int):
        self.limit = limit

    @own_settings()
    def map(self, f: Callable[..., Any], *arrays: np.ndarray, size: int) -> Any:
        """Call `f` on slices of `size` rows, or of `limit` if that is fewer, and join what it returns.

        Parameters
        ----------
        f : callable
            Takes one slice of each array, returns a pytree of arrays with the same leading axis.
        *arrays : np.ndarray
            Of one leading axis, not empty. A short slice is padded by repeating its rows.
        size : int
            Rows in a call.

        Returns
        -------
        pytree of np.ndarray
            What `f` returned, without the padding.

        Raises
        ------
        DataUnavailable
            There is not enough memory even for one image.
        """
        done, at = [], 0
        while at < len(arrays[0]):
            width = min(size, self.limit)
            rows = min(width, len(arrays[0]) - at)
            try:
                batch = tuple(np.resize(a[at : at + rows], (width, *a.shape[1:])) for a in arrays)
                with raised():
                    out = jax.device_get(f(*devices.split(batch)))
            except Exception as error:
                if not _out_of_memory(error):
                    raise
                if width == 1:
                    raise DataUnavailable("there is not enough memory for one image; use a smaller model") from error
                self.limit = width // 2
                continue
            done.append(jax.tree.map(lambda a, rows=rows: np.asarray(a)[:rows], out))
            at += rows
        return jax.tree.map(lambda *parts: np.concatenate(parts), *done)


def padded(rows: int, size: int) -> int:
    """Return the rows of a batch that holds `rows` images: up to the next eighth of `size`, in steps of 32 at least.

    Padding costs as much as images do, another shape costs a compilation: hence few shapes, and little padding.

    Parameters
    ----------
    rows : int
        Number of images, at least 1.
    size : int
        Rows of a full batch.

    Returns
    -------
    int
        At most `size`.
    """
    step = max(-(-size // 8), 32)
    return min(-(-rows // step) * step, size)


def _out_of_memory(error: Exception) -> bool:
    """Recognise the out-of-memory errors of XLA and of other libraries that compute the model."""
    signs = ("RESOURCE_EXHAUSTED", "ut of memory", "allocate memory")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)
