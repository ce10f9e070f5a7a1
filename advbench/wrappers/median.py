"""The median of every pixel's neighbourhood."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from advbench.wrappers.base import Shape, Transform, static


@static
@dataclass(frozen=True)
class Median(Transform):
    """Replace every value by the median of a window, each channel for itself (Xu, Evans & Qi 2018, arXiv 1704.01155).

    Parameters
    ----------
    size : int
        Side of the window, 2 or more. As in SciPy's `median_filter`, which the paper used: of an even number of values
        the upper middle one, the window of an even side reaching up and left, edges mirrored.
    """

    paper = "Xu et al. 2018, arXiv 1704.01155"
    size: int = 2

    def check(self, shape: Shape) -> None:
        """As `Wrapper.check`."""
        if not 2 <= self.size <= min(shape[:2]):
            raise ValueError(f"median: size={self.size} should be 2 or more, and at most the image's side")

    def apply(self, x: Array) -> Array:
        """The filtered images."""
        return jnp.sort(self._windows(x), axis=0)[self.size**2 // 2]

    def stand_in(self, x: Array) -> Array:
        """The mean of the same window: every pixel that may become the median counts."""
        return self._windows(x).mean(0)

    def _windows(self, x: Array) -> Array:
        """The image shifted to each place of the window, `[size**2, B, H, W, C]`."""
        up, (height, width) = self.size // 2, x.shape[1:3]
        margin = (up, self.size - 1 - up)
        padded = jnp.pad(x, ((0, 0), margin, margin, (0, 0)), mode="symmetric")
        places = [(i, j) for i in range(self.size) for j in range(self.size)]
        return jnp.stack([padded[:, i : i + height, j : j + width] for i, j in places])
