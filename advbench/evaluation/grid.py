"""Images on the 8-bit grid of pixels that a model receives: attacks and judge must see the image that can be sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from math import floor

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks import Model
from advbench.core.spec import Epsilon, ThreatSpec

ORDERS = {"l1": 1, "l2": 2}
SLACK = Fraction(1, 10**6)  # steps, against rounding: an eps typed as 0.3 has 76.5 steps of 1/255


def within_steps(threat: ThreatSpec, levels: int | None) -> ThreatSpec:
    """Return the threat to search in: for Linf, eps rounded down to whole steps, a ball that rounding never leaves."""
    if levels is None or threat.norm != "linf":
        return threat
    steps = floor(threat.eps.value * levels + SLACK)
    return replace(threat, eps=Epsilon(threat.eps.text, Fraction(steps, levels)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Grid:
    """Grid of whole pixel steps around a batch of clean images.

    Attributes
    ----------
    x : Array
        Clean images, float32 `[B, H, W, C]` in [0, 1], on the grid.
    most : Array
        For L1 and L2, the largest sum of absolute or squared steps in the ball: a whole number, float32.
    levels : int
        Steps from black to white; 255 for 8 bits.
    order : int or None
        1 for L1, 2 for L2; None for other norms, for which rounding to the nearest step never leaves the ball.
    """

    x: Array
    most: Array
    levels: int = field(metadata={"static": True})
    order: int | None = field(metadata={"static": True})

    @classmethod
    def of(cls, threat: ThreatSpec, x: Array, levels: int) -> Grid:
        """Build the grid around clean images `x` for a threat."""
        order = ORDERS.get(threat.norm)
        most = floor((threat.eps.value * levels) ** order + SLACK) if order else 0
        return cls(x, jnp.float32(most), levels, order)

    def snap(self, x_adv: Array) -> Array:
        """Round images to the grid within the ball.

        Each value is rounded to the nearest step, as it is when an image is sent. If that leaves the ball, the values
        whose rounding increased the norm most are rounded towards the clean image instead, as few of them as necessary;
        none in an image that was outside the ball already. Values on the grid stay unchanged to the last bit: they
        are looked up in a table, since XLA turns the division by a constant into a multiplication.

        Parameters
        ----------
        x_adv : Array
            Adversarial images, float32 `[B, H, W, C]`.

        Returns
        -------
        Array
            float32 `[B, H, W, C]` in [0, 1].
        """
        clean = jnp.round(self.x * self.levels)
        moved = (jnp.nan_to_num(x_adv) - self.x) * self.levels
        near = jnp.round(moved)
        if self.order:
            near = jax.vmap(partial(self._inside, self.order))(moved, near)
        steps = jnp.clip(clean + near, 0, self.levels).astype(jnp.int32)
        return jnp.asarray(np.arange(self.levels + 1, dtype=np.float32) / np.float32(self.levels))[steps]

    def _inside(self, order: int, moved: Array, near: Array) -> Array:
        """Return one image's steps within the ball; sums of whole numbers are exact in float32 up to 2**24."""

        def mass(steps: Array) -> Array:
            return (jnp.abs(steps) ** order).ravel()

        inward = jnp.trunc(moved)
        saved = mass(near) - mass(inward)
        grown = (jnp.abs(near) - jnp.abs(moved)) * (jnp.abs(near) + jnp.abs(moved)) ** (order - 1)
        worst = jnp.argsort(-grown.ravel(), stable=True)
        before = jnp.cumsum(saved[worst]) - saved[worst]
        back = jnp.zeros(near.size, bool).at[worst].set(before < mass(near).sum() - self.most)
        kept = jnp.where(back.reshape(near.shape), inward, near)
        return jnp.where(mass(kept).sum() <= self.most, kept, near)

    def rows(self, some: Array) -> Grid:
        """Return the grid around some of the images, by position."""
        return Grid(self.x[some], self.most, self.levels, self.order)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OnGrid:
    """A `Model` that rounds every image to the grid; gradients pass the rounding straight through."""

    model: Model
    grid: Grid

    def __call__(self, x: Array, /) -> Array:
        """Return logits `[B, K]` of the rounded images; `x` perturbs the grid's clean images, in their order."""
        return self.model(_through(x, self.grid.snap(x)))

    @property
    def spent(self) -> bool:
        """True if the remote model no longer answers."""
        return getattr(self.model, "spent", False)

    def rows(self, some: Array) -> OnGrid:
        """Return the same model for some of the images, by position."""
        model = self.model.rows(some) if hasattr(self.model, "rows") else self.model
        return OnGrid(model, self.grid.rows(some))


@jax.custom_jvp
def _through(x: Array, seen: Array) -> Array:
    """Return `seen`, with the derivative of `x`."""
    return seen


@_through.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


@jax.jit
def on_steps(grid: Grid, x_adv: Array) -> Array:
    """Round images to a grid by `Grid.snap`, compiled."""
    return grid.snap(x_adv)
