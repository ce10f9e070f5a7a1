"""Input defense: random resizing and padding."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks import Model, Randomised
from advbench.wrappers.base import Shape, Wrapper
from advbench.wrappers.facing import NonAdaptive


@dataclass(frozen=True)
class RandomResize(Wrapper):
    """Shrink images to a random size and pad them with black at random (Xie et al. 2018, arXiv 1711.01991).

    The paper enlarges images of 299 pixels to at most 331 and pads to that. Networks of a fixed input size do not allow
    this, so images are shrunk by the same ratio, with linear interpolation.

    Parameters
    ----------
    smallest : float
        Smallest side over the original side, in (0, 1); 0.9 is the paper's 299 / 331.
    draws : int
        Draws averaged for a prediction, at least 1.
    """

    paper = "Xie et al. 2018, arXiv 1711.01991"
    smallest: float = 0.9
    draws: int = 20

    def check(self, shape: Shape) -> None:
        """Refuse a ratio outside (0, 1) and fewer than one draw."""
        if not 0 < self.smallest < 1:
            raise ValueError(f"resize: smallest={self.smallest} should be a share of the side, above 0 and below 1")
        if self.draws < 1:
            raise ValueError(f"resize: draws={self.draws} should be at least 1")

    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """Return a `Randomised` model; non-adaptive attacks see the network without the defense."""
        if isinstance(model, Randomised):
            raise ValueError("resize: this model is randomised already: use at most one randomised defense")
        defended = Randomised(Resized(model, self.smallest), draws=self.draws)
        return defended if adaptive else NonAdaptive(defended, model)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Resized:
    """One draw of the randomised model.

    Attributes
    ----------
    model : Model
        Sees resized and padded images.
    smallest : float
        Smallest side, as a fraction of the image's.
    """

    model: Model
    smallest: float

    def __call__(self, x: Array, key: Array) -> Array:
        """Return logits `[B, K]`; all images of a draw are resized and padded alike."""
        return self.model(self.place(x, *jax.random.uniform(key, (3,))))

    def place(self, x: Array, *uniform: Array) -> Array:
        """Shrink and pad images, shape unchanged; numbers in [0, 1) choose side and position, in whole pixels."""
        sides = jnp.array(x.shape[1:3])
        least = jnp.ceil(self.smallest * sides)
        small = jnp.floor(least + uniform[0] * (sides - least))  # at least one pixel less, if `least` allows
        corner = jnp.floor(jnp.stack(uniform[1:]) * (sides - small + 1))
        placed: Array = jax.image.scale_and_translate(x, x.shape, (1, 2), small / sides, corner, "linear")
        return placed
