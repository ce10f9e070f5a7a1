"""What minimum-norm attacks share: the nearest image that fools so far, and the search for the smallest weight c."""

import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.rows import per_image

SLACK = 1.01  # tanh reaches this far past the allowed interval, so that no pixel starts where its slope is 0


class Best(NamedTuple):
    """The nearest image that fools, so far."""

    x: Array
    size: Array  # `[B]`; inf until one fools

    def or_nearer(self, x: Array, size: Array, fools: Array) -> "Best":
        """Take those of `x` that fool and are nearer."""
        nearer = fools & (size < self.size)
        return Best(per_image(nearer)(x, self.x), jnp.where(nearer, size, self.size))


class Search(NamedTuple):
    """Rounds of descent that look for the smallest sufficient c, each image at its own pace; `[B]` each."""

    step: Array  # in this round
    cost: Array  # when progress was last looked at
    fooled: Array  # in this round
    round: Array
    c: Array
    low: Array
    high: Array


class Rounds(Protocol):
    """The settings of such a search; `abort_early` ends a round whose cost stalls over a tenth of its steps."""

    @property
    def rounds(self) -> Array | int: ...
    @property
    def steps(self) -> Array | int: ...
    @property
    def c(self) -> Array | float: ...
    @property
    def abort_early(self) -> bool: ...


def search(plan: Rounds, n: int) -> Search:
    """The beginning, for `n` images."""
    zero, inf, c = jnp.zeros(n, jnp.int32), jnp.full(n, jnp.inf), jnp.full(n, plan.c, jnp.float32)
    return Search(zero, inf, jnp.zeros(n, bool), zero, c, 0 * c, inf)


def advance(plan: Rounds, now: Search, fools: Array, cost: Array) -> tuple[Search, Array]:
    """Count one step of every image, and say whose round it ended; such an image goes on with another c."""
    active = now.round < plan.rounds
    look = now.step % jnp.maximum(plan.steps // 10, 1) == 0
    stalled = look & (cost > 0.9999 * now.cost) if plan.abort_early else jnp.zeros_like(look)
    over = active & (stalled | (now.step + 1 >= plan.steps))
    fooled = now.fooled | (fools & active)
    high = jnp.where(over & fooled, jnp.minimum(now.high, now.c), now.high)
    low = jnp.where(over & ~fooled, jnp.maximum(now.low, now.c), now.low)
    c = jnp.where(jnp.isinf(high), 10 * now.c, (low + high) / 2)
    return Search(
        step=jnp.where(over, 0, now.step + 1),
        cost=jnp.where(over, jnp.inf, jnp.where(look, cost, now.cost)),
        fooled=fooled & ~over,
        round=now.round + over,
        c=jnp.where(over, c, now.c),
        low=low,
        high=high,
    ), over


def cosine(first: Array | float, last: Array | float, step: Array, steps: Array | int) -> Array:
    """From `first` at step 0 to `last` at `steps`, along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983)."""
    return last + (first - last) * (1 + jnp.cos(math.pi * step / steps)) / 2


def squash(w: Array, low: Array | float, high: Array | float) -> Array:
    """Carlini & Wagner's variables as an image; past the interval it is clipped, but the slope let through."""
    x = (low + high) / 2 + SLACK * (high - low) / 2 * jnp.tanh(w)
    return x + jax.lax.stop_gradient(jnp.clip(x, low, high) - x)


def unsquash(x: Array, low: Array | float, high: Array | float) -> Array:
    """The variables of an image."""
    return jnp.arctanh((x - (low + high) / 2) / jnp.maximum(SLACK * (high - low) / 2, 1e-12))
