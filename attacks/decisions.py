"""What attacks share that see only the predicted class: where to begin, and how to find the boundary."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.base import Model, Plan
from advbench.attacks.loop import iterate
from advbench.attacks.rows import per_image
from advbench.attacks.selection import surely_fooled
from advbench.attacks.threat import TINY, Threat

DRAWS = 1000  # noise images tried before an image is given up
HALVINGS = 10  # of the way from the noise to the clean image


class Start(NamedTuple):
    """Per image: an adversarial image, where one was found."""

    x: Array
    found: Array
    noise: Array  # the adversarial noise, once found
    low: Array  # share of noise that is known not to fool
    high: Array  # and that is known to
    forwards: Array
    halvings: Array


class Blend(Plan):
    """Draw uniform noise until it fools, then bisect the way to the clean image. One query a step."""

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: Start) -> Start:
        """Try the next noise, or the middle of the way."""
        labels, keys = y
        drawn = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(fresh(keys, state.forwards))
        middle = (state.low + state.high) / 2
        noise = per_image(state.found)(state.noise, drawn)
        query = x + jnp.where(state.found, middle, 1.0)[:, None, None, None] * (noise - x)
        query = jnp.clip(query, 0.0, 1.0)
        active = ~self.done(state)
        hit = surely_fooled(model, query, labels) & active
        low, high = narrow(hit, state.low, state.high)
        halving = active & state.found
        return Start(
            x=per_image(hit)(query, state.x),
            found=state.found | hit,
            noise=noise,
            low=jnp.where(halving, low, state.low),
            high=jnp.where(halving, high, state.high),
            forwards=state.forwards + active,
            halvings=state.halvings + halving,
        )

    def done(self, state: Start) -> Array:
        """Images that are near enough, or given up."""
        return jnp.where(state.found, state.halvings >= HALVINGS, state.forwards >= DRAWS)


def start(model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Start:
    """An adversarial image for each; the clean one where no noise fooled."""
    zero, one = jnp.zeros(len(x)), jnp.ones(len(x))
    count = jnp.zeros(len(x), jnp.int32)
    begun = Start(x, zero > 0, x, zero, one, count, count)
    ended: Start = iterate(Blend(), model, threat, x, (y, keys), begun, DRAWS + HALVINGS)
    return ended


def narrow(hit: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Half of the interval, after its middle was tried; `high` always fools."""
    middle = (low + high) / 2
    return jnp.where(hit, low, middle), jnp.where(hit, middle, high)


def towards(threat: Threat, x0: Array, x: Array, share: Array) -> Array:
    """The part of the way from `x0` to `x` that has `share` of its size: a line in L2, a clipped cube in Linf."""
    d = x - x0
    if threat.norm.name == "linf":
        bound = share * jnp.abs(d).max()
        return x0 + jnp.clip(d, -bound, bound)
    return x0 + share * d


def fresh(keys: Array, count: Array) -> Array:
    """A new key for each image's next query."""
    return jax.vmap(jax.random.fold_in)(keys, count)


def unit(d: Array) -> Array:
    """`d` scaled to Euclidean length 1; 0 stays 0."""
    d = d / jnp.maximum(jnp.abs(d).max(), TINY)
    return d / jnp.maximum(jnp.sqrt(jnp.square(d).sum()), TINY)
