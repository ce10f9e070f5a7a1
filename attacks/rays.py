"""RayS (Chen & Gu 2020, arXiv 2006.12792): the sign vector along which the boundary is nearest in Linf.

Flip the signs of a block of pixels; if the image at the best radius so far is still misclassified, keep the flip, and
find the new radius by bisection. Blocks are halved once all are tried: the whole image, halves, quarters, ... A step is
one query, of whichever kind each image needs next, so that no image waits for another.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import (
    Attack,
    Proposal,
    Starts,
    setting,
)
from advbench.attacks.decisions import STARTS, narrow, seeds
from advbench.attacks.loop import iterate
from advbench.attacks.minimum import Best
from advbench.attacks.rows import filled, per_image
from advbench.attacks.selection import passes, surely_misclassified
from advbench.core.model import Model
from advbench.core.threat import Threat

TOLERANCE = 1e-3  # of the radius, as Euclidean length
PATIENCE = 100  # flips without success, a tenth of the queries at most, before other images give the signs


class State(NamedTuple):
    """Per image; every leaf has leading axis B."""

    signs: Array
    radius: Array  # along the signs, of the nearest misclassified image; 1, the whole box, before the first
    found: Array
    block: Array  # being flipped; -1: none, the signs themselves are tried
    blocks: Array  # how many there are at this level
    bisecting: Array  # the flipped signs are misclassified at `high`, and not at `low`
    low: Array
    high: Array
    within: Array  # broken within eps, and done
    forwards: Array


class RayS(Attack):
    """Minimum-norm attack that sees decisions only and stops within eps; the defaults are those published.

    Parameters
    ----------
    queries
        Query limit per image, at least 1.
    early_stop
        Stop at the first success within eps; else search for the nearest adversarial image.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> RayS()(model, linf, x, y, keys).claims.tolist()
    [True, True]
    """

    norms = ("linf",)
    access = "decision"
    starts = STARTS
    cost = "up to 10,000 queries"
    paper = "Chen & Gu 2020, arXiv 2006.12792"
    stops = True
    steady = True

    queries: int = 10_000
    early_stop: bool = setting(default=True)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.queries < 1:
            raise ValueError("RayS needs queries >= 1")
        if self.restarts > 1:
            raise ValueError("RayS draws nothing: its restarts would all be the same")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        ended = iterate(self, model, threat, x, y, _begin(x), self.queries)
        best, none = Best(_best(x, ended), jnp.where(ended.found, 0.0, jnp.inf)), filled(x, 0, np.int32)
        return best.proposal(model, threat, x, y, ended.forwards * passes(model), none)._replace(tried=ended.found)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Query the next flip at the best radius so far, or a successful flip at half of the interval."""
        active = ~self.done(state)
        s, seeding = self._seeded(x, y, state)
        flipped = _flip(s)
        query = _along(x, flipped, jnp.where(s.bisecting, (s.low + s.high) / 2, s.high))
        hit = surely_misclassified(model, query, y) & active

        bisecting, trying = s.bisecting & active, ~s.bisecting & active
        low, high = narrow(hit, s.low, s.high)
        low, high = jnp.where(bisecting, low, 0.0), jnp.where(bisecting, high, s.high)
        ended = bisecting & (high - low <= TOLERANCE / x[0].size ** 0.5)
        better = ended & ((high < s.radius) | ~s.found)
        found = s.found | hit

        over = ended | (trying & ~hit & ~seeding)
        last = (s.block + 1) * _length(s) >= x[0].size
        s = jax.tree.map(per_image(seeding & ~hit), state, s)
        return State(
            signs=per_image(better)(flipped, s.signs),
            radius=jnp.where(better, high, s.radius),
            found=found,
            block=jnp.where(over, jnp.where(last, 0, s.block + 1), s.block),
            blocks=jnp.where(over & last & (_length(s) > 1), 2 * s.blocks, s.blocks),
            bisecting=jnp.where(active, (s.bisecting | hit) & ~ended, s.bisecting),
            low=jnp.where(active, low, s.low),
            high=high,
            within=s.within | (found & (high <= threat.eps) & self.early_stop),
            forwards=s.forwards + active,
        )

    def done(self, state: State) -> Array:
        """Mark images broken within eps."""
        return state.within

    def _seeded(self, x: Array, y: Any, s: State) -> tuple[State, Array]:
        """Take signs towards an image of another class for images whose flips found nothing; and mark these."""
        if not isinstance(y, Starts) or not y.images.shape[1]:
            return s, jnp.zeros_like(s.found)
        number = s.forwards - jnp.minimum(PATIENCE, self.queries // 10)
        seeding = ~s.found & (number >= 0) & (number < y.available)
        signs = jnp.where(seeds(y, number) > x, 1.0, -1.0)
        return s._replace(
            signs=per_image(seeding)(signs, s.signs),
            block=jnp.where(seeding, -1, s.block),
            blocks=jnp.where(seeding, 1, s.blocks),
        ), seeding


def _length(state: State) -> Array:
    """Return the length of a block, in values."""
    return -(-state.signs[0].size // state.blocks)


def _flip(state: State) -> Array:
    """Flip the signs of the block; blocks run along rows, one channel after the other."""
    _, height, width, channels = state.signs.shape
    place = jnp.arange(height * width * channels).reshape(channels, height, width).transpose(1, 2, 0)
    inside = jax.vmap(lambda block, length: place // length == block)(state.block, _length(state))
    return jnp.where(inside, -state.signs, state.signs)


def _along(x: Array, signs: Array, radius: Array) -> Array:
    return jnp.clip(x + radius[:, None, None, None] * signs, 0.0, 1.0)


@jax.jit
def _best(x: Array, state: State) -> Array:
    """Return the nearest image known to be misclassified; the clean one if there is none."""
    signs = per_image(state.bisecting)(_flip(state), state.signs)
    image: Array = per_image(state.found)(_along(x, signs, state.high), x)
    return image


@jax.jit
def _begin(x: Array) -> State:
    one, none, no = jnp.ones(len(x)), jnp.zeros(len(x), jnp.int32), jnp.zeros(len(x), bool)
    return State(jnp.ones_like(x), one, no, none, none + 1, no, 0 * one, one, no, none)
