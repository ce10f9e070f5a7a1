"""Images in the form that a remote model expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advbench.core.errors import UsageError
from advbench.core.preprocess import LAYOUTS, Preprocess, arrange

LEVELS = 255  # above black, of an 8-bit pixel


@dataclass(frozen=True)
class PixelFormat:
    """The form in which a remote model takes images.

    Attributes
    ----------
    range : {"0..1", "0..255", "uint8"}
        Floats in [0, 1] or [0, 255], or whole numbers from 0 to 255.
    preprocess : Preprocess
        Order of axes; mean and std, for pixels from 0 to 1, are for floats in [0, 1] only.

    Raises
    ------
    UsageError
        For mean and std of pixels in another range.
    """

    range: str
    preprocess: Preprocess

    def __post_init__(self) -> None:
        if self.range != "0..1" and (self.preprocess.mean or self.preprocess.std):
            raise UsageError(f"--mean and --std are for pixels in [0, 1]; this target takes {self.range}")

    @property
    def levels(self) -> int | None:
        """Steps from black to white that the model can receive; None if pixels are not rounded."""
        return LEVELS if self.range == "uint8" else None

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Convert images to the form that the model takes, in NumPy alone, since compiled programs wait for it.

        Parameters
        ----------
        images : np.ndarray
            float32 `[B, H, W, C]` in [0, 1].

        Returns
        -------
        np.ndarray
            uint8 or float32, B first.
        """
        if self.range == "uint8":
            images = np.rint(images * np.float32(LEVELS)).clip(0, LEVELS).astype(np.uint8)
        elif self.range == "0..255":
            images = images * np.float32(LEVELS)
        if self.preprocess.mean:
            images = images - np.asarray(self.preprocess.mean, np.float32)
        if self.preprocess.std:
            images = images / np.asarray(self.preprocess.std, np.float32)
        arranged: Any = arrange(images, self.preprocess.layout or "nhwc")  # type: ignore[arg-type]
        return np.ascontiguousarray(arranged)


def layout_for(dims: Sequence[int], shape: tuple[int, ...], where: str) -> str:
    """Find the first layout in which an image fits the dimensions of a tensor.

    Parameters
    ----------
    dims : sequence of int
        Dimensions after the batch; -1 fits any size.
    shape : tuple of int
        Image shape (H, W, C).
    where : str
        The URL, for messages.

    Returns
    -------
    str
        A layout, like "nchw".

    Raises
    ------
    UsageError
        When no layout fits.
    """
    image = np.zeros((1, *shape), np.uint8)
    for layout in LAYOUTS:
        if "c" not in layout and shape[2] > 1:
            continue
        form = arrange(image, layout).shape[1:]  # type: ignore[arg-type]
        if len(form) == len(dims) and all(d in (-1, n) for d, n in zip(dims, form, strict=True)):
            return layout
    raise UsageError(f"{where} takes images of {list(dims)}, but the data has {list(shape)}")


def numbers(data: Any) -> np.ndarray | None:
    """Convert nested lists of JSON to an array of finite numbers.

    Parameters
    ----------
    data : JSON
        Any JSON value.

    Returns
    -------
    np.ndarray or None
        None if it is anything else.
    """
    try:
        array = np.array(data)
    except (ValueError, OverflowError, RecursionError):
        return None
    return array if array.dtype.kind in "iuf" and np.isfinite(array).all() else None
