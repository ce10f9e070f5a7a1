"""How images are written for a target, and what of them arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advbench.core.errors import UsageError
from advbench.core.preprocess import LAYOUTS, Preprocess, arrange

LEVELS = 255  # above black, of an 8-bit pixel


@dataclass(frozen=True)
class Pixels:
    """The form in which a target takes images.

    Attributes
    ----------
    range : {"0..1", "0..255", "uint8"}
        Floats in [0, 1] or [0, 255], or whole numbers from 0 to 255.
    preprocess : Preprocess
        Order of axes; mean and std, in units of white, are for floats in [0, 1] only.

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
        """Steps from black to white that arrive; None where pixels arrive as they are."""
        return LEVELS if self.range == "uint8" else None

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Images `[B, H, W, C]` float32 in [0, 1], as the target takes them: uint8 or float32, B first.

        In NumPy alone, since compiled programs wait for it.
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
    """The first layout in which an image (H, W, C) fits a tensor's dimensions behind the batch; -1 fits all.

    Raises
    ------
    UsageError
        When none does.
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
    """Nested lists of JSON as an array of finite numbers, or None where they are something else."""
    try:
        array = np.array(data)
    except (ValueError, OverflowError, RecursionError):
        return None
    return array if array.dtype.kind in "iuf" and np.isfinite(array).all() else None
