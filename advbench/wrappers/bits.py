"""Input defense: bit depth reduction."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from advbench.wrappers.base import Shape, Transform, static


@static
@dataclass(frozen=True)
class BitDepth(Transform):
    """Round every value to `depth` bits (Xu, Evans & Qi 2018, arXiv 1704.01155).

    Parameters
    ----------
    depth : int
        Bits per value, from 1 to 8: 2**depth levels, evenly spaced from 0 to 1. The paper uses 1 for MNIST, 4 or 5 for
        CIFAR-10.
    """

    paper = "Xu et al. 2018, arXiv 1704.01155"
    depth: int = 4

    def check(self, shape: Shape) -> None:
        """Refuse a depth outside 1 to 8."""
        if not 1 <= self.depth <= 8:
            raise ValueError(f"bits: depth={self.depth} should be from 1 to 8")

    def apply(self, x: Array) -> Array:
        """Round each value to the nearest level."""
        steps = 2**self.depth - 1
        rounded: Array = jnp.round(x * steps) / steps
        return rounded
