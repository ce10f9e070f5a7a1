"""Images for models whose pixels arrive in steps, 8-bit ones: attacks and judge must see what can be sent."""

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
SLACK = Fraction(1, 10**6)  # steps: an eps of 0.3, as typed, has 76.5 of them


def within_steps(threat: ThreatSpec, levels: int | None) -> ThreatSpec:
    """The ball to search: in Linf the largest whole number of steps, since rounding never leaves that one."""
    if levels is None or threat.norm != "linf":
        return threat
    steps = floor(threat.eps.value * levels + SLACK)
    return replace(threat, eps=Epsilon(threat.eps.text, Fraction(steps, levels)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Grid:
    """Whole steps of each pixel around a batch of clean images.

    Attributes
    ----------
    x : Array
        The clean images, float32 `[B, H, W, C]` in [0, 1], on the grid.
    most : Array
        In L1 and L2 the sum of absolute, or squared, steps that the ball allows: a whole number, float32.
    levels : int
        Steps from black to white; 255 for 8 bits.
    order : int or None
        1 in L1, 2 in L2; None in other norms, where the nearest steps lie in the ball.
    """

    x: Array
    most: Array
    levels: int = field(metadata={"static": True})
    order: int | None = field(metadata={"static": True})

    @classmethod
    def of(cls, threat: ThreatSpec, x: Array, levels: int) -> Grid:
        """The grid around `x` for a threat."""
        order = ORDERS.get(threat.norm)
        most = floor((threat.eps.value * levels) ** order + SLACK) if order else 0
        return cls(x, jnp.float32(most), levels, order)

    def snap(self, x_adv: Array) -> Array:
        """Images float32 `[B, H, W, C]` on the grid.

        Each value goes to the nearest step, as it does when an image is sent. Where that leaves the ball, the values
        whose rounding added most go to the step on the clean side instead, as few of them as will do; of an image that
        lies outside, none. What is on the grid already stays as it is, to the last bit: values are looked up, since XLA
        makes a product of a division by a constant.
        """
        clean = jnp.round(self.x * self.levels)
        moved = (jnp.nan_to_num(x_adv) - self.x) * self.levels
        near = jnp.round(moved)
        if self.order:
            near = jax.vmap(partial(self._inside, self.order))(moved, near)
        steps = jnp.clip(clean + near, 0, self.levels).astype(jnp.int32)
        return jnp.asarray(np.arange(self.levels + 1, dtype=np.float32) / np.float32(self.levels))[steps]

    def _inside(self, order: int, moved: Array, near: Array) -> Array:
        """One image's steps within the ball; sums of whole numbers are exact in float32 up to 2**24."""

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
        """The same around some of the images."""
        return Grid(self.x[some], self.most, self.levels, self.order)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OnGrid:
    """A `Model` that sees every image as it will be judged; its gradient is that at the steps, straight through."""

    model: Model
    grid: Grid

    def __call__(self, x: Array, /) -> Array:
        """Logits `[B, K]` of the images on the grid; `x` are perturbations of the grid's own, in their order."""
        return self.model(_through(x, self.grid.snap(x)))

    @property
    def spent(self) -> bool:
        """Whether nothing more can be asked, of a target."""
        return getattr(self.model, "spent", False)

    def rows(self, some: Array) -> OnGrid:
        """The same for some of the images."""
        model = self.model.rows(some) if hasattr(self.model, "rows") else self.model
        return OnGrid(model, self.grid.rows(some))


@jax.custom_jvp
def _through(x: Array, seen: Array) -> Array:
    """`seen`, with the derivative of `x`."""
    return seen


@_through.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


@jax.jit
def on_steps(grid: Grid, x_adv: Array) -> Array:
    """As `Grid.snap`, in one program."""
    return grid.snap(x_adv)
