"""Input defense: median filter."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from advbench.wrappers.base import Shape, Transform, static


@static
@dataclass(frozen=True)
class Median(Transform):
    """Replace every value by the median of a window, channel by channel (Xu, Evans & Qi 2018, arXiv 1704.01155).

    Parameters
    ----------
    size : int
        Side of the window in pixels, at least 2. As in SciPy's `median_filter`, which the paper uses, the median of an
        even number of values is the upper middle one, a window of even side extends further up and left, and edges are
        mirrored.
    """

    paper = "Xu et al. 2018, arXiv 1704.01155"
    size: int = 2

    def check(self, shape: Shape) -> None:
        """Refuse a window smaller than 2 or larger than the image."""
        if not 2 <= self.size <= min(shape[:2]):
            raise ValueError(f"median: size={self.size} should be from 2 to {min(shape[:2])}, the image's shorter side")

    def apply(self, x: Array) -> Array:
        """Filter images `[B, H, W, C]`."""
        return jnp.sort(self._windows(x), axis=0)[self.size**2 // 2]

    def stand_in(self, x: Array) -> Array:
        """Return the mean of the same window, so that every pixel that may become the median gets a gradient."""
        return self._windows(x).mean(0)

    def _windows(self, x: Array) -> Array:
        """Return the images shifted to each position of the window, `[size**2, B, H, W, C]`."""
        up, (height, width) = self.size // 2, x.shape[1:3]
        margin = (up, self.size - 1 - up)
        padded = jnp.pad(x, ((0, 0), margin, margin, (0, 0)), mode="symmetric")
        places = [(i, j) for i in range(self.size) for j in range(self.size)]
        return jnp.stack([padded[:, i : i + height, j : j + width] for i, j in places])
