"""A random size and a random place."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks import Model, Randomised
from advbench.wrappers.base import Shape, Wrapper
from advbench.wrappers.facing import Unaware


@dataclass(frozen=True)
class RandomResize(Wrapper):
    """Shrink every image to a random size and put it at a random place on black (Xie et al. 2018, arXiv 1711.01991).

    The paper enlarges 299 pixels to at most 331 and pads to that. Networks of a fixed input size can't follow, so the
    same ratio is taken downwards; pixels are interpolated linearly.

    Parameters
    ----------
    smallest : float
        The least share of the side that is kept, in (0, 1); 0.9 is the paper's 299 / 331.
    draws : int
        Draws averaged for a prediction.
    """

    paper = "Xie et al. 2018, arXiv 1711.01991"
    smallest: float = 0.9
    draws: int = 20

    def check(self, shape: Shape) -> None:
        """As `Wrapper.check`."""
        if not 0 < self.smallest < 1:
            raise ValueError(f"resize: smallest={self.smallest} should be a share of the side, between 0 and 1")
        if self.draws < 1:
            raise ValueError(f"resize: draws={self.draws} should be 1 or more")

    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """A `Randomised` model; attacks that do not adapt climb the network without it."""
        if isinstance(model, Randomised):
            raise ValueError("resize: this model is randomised already; one random wrapper is enough")
        defended = Randomised(Resized(model, self.smallest), draws=self.draws)
        return defended if adaptive else Unaware(defended, model)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Resized:
    """One draw."""

    model: Model
    smallest: float

    def __call__(self, x: Array, key: Array) -> Array:
        """Logits `[B, K]` of images that are all resized alike."""
        return self.model(self.place(x, *jax.random.uniform(key, (3,))))

    def place(self, x: Array, *uniform: Array) -> Array:
        """Images on black, of the same shape: whole pixels for side and place, each chosen by a number in [0, 1)."""
        sides = jnp.array(x.shape[1:3])
        least = jnp.ceil(self.smallest * sides)
        small = jnp.floor(least + uniform[0] * (sides - least))  # at least one pixel less, where there is room
        corner = jnp.floor(jnp.stack(uniform[1:]) * (sides - small + 1))
        placed: Array = jax.image.scale_and_translate(x, x.shape, (1, 2), small / sides, corner, "linear")
        return placed
