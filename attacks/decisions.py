"""Parts shared by attacks that see only the predicted class: finding a start, and bisecting to the boundary."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.base import PytreeConfig, Starts
from advbench.attacks.loop import iterate
from advbench.attacks.rows import per_image
from advbench.attacks.selection import surely_misclassified
from advbench.core.model import Model
from advbench.core.norms import TINY
from advbench.core.threat import Threat

DRAWS = 1000  # noise images tried first, as many as Foolbox tries
BLENDS = 200  # mixtures of noise and the clean image tried after them
STARTS = 3  # images of other classes tried last
HALVINGS = 10  # of the way from the start to the clean image
COARSE = 4  # cells along each side of low-frequency noise


class Start(NamedTuple):
    """Adversarial start of each image, if one was found; every leaf has leading axis B."""

    x: Array
    found: Array
    origin: Array  # the first misclassified candidate, once found
    low: Array  # share of the way to it that is known to be classified correctly
    high: Array  # share known to be misclassified
    forwards: Array
    limit: Array  # candidates after which the image is given up
    halvings: Array


class BoundarySearch(PytreeConfig):
    """Try candidates until one is misclassified, then bisect the way to the clean image; one query a step.

    The candidates are uniform noise, as in the papers; then mixtures of the clean image with noise, as in Foolbox
    (Rauber, Brendel & Bethge 2017, arXiv 1707.04131), also Gaussian, constant and of low frequency (Guo, Frank &
    Weinberger 2019, arXiv 1809.08758), since networks put all uniform noise into one class; then images of other
    classes, if the evaluation gave any.
    """

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: Start) -> Start:
        """Query the next candidate, or the middle of the remaining interval."""
        y, keys = y
        origin = per_image(state.found)(state.origin, _candidates(keys, x, y, state.forwards))
        share = jnp.where(state.found, (state.low + state.high) / 2, 1.0)
        query = jnp.clip(x + share[:, None, None, None] * (origin - x), 0.0, 1.0)
        active = ~self.done(state)
        hit = surely_misclassified(model, query, y) & active
        low, high = narrow(hit, state.low, state.high)
        halving = active & state.found
        return Start(
            x=per_image(hit)(query, state.x),
            found=state.found | hit,
            origin=origin,
            low=jnp.where(halving, low, state.low),
            high=jnp.where(halving, high, state.high),
            forwards=state.forwards + active,
            limit=state.limit,
            halvings=state.halvings + halving,
        )

    def done(self, state: Start) -> Array:
        """Mark images whose bisection has ended, and those without a start."""
        return jnp.where(state.found, state.halvings >= HALVINGS, state.forwards >= state.limit)


def start(model: Model, threat: Threat, x: Array, y: Array | Starts, keys: Array) -> Start:
    """Find an adversarial image for each; where there is none, the clean one with `found` false.

    Parameters
    ----------
    model : Model
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    threat : Threat
        Norm ball and pixel box to stay in.
    x : Array
        Clean images, float32 `[B, H, W, C]` in [0, 1].
    y : Array or Starts
        Labels int32 `[B]`, or a `Starts` with images to fall back on.
    keys : Array
        One PRNG key per image.

    Returns
    -------
    Start
        Images that were found lie within 2**-`HALVINGS` of the way from a boundary.
    """
    zero, one = jnp.zeros(len(x)), jnp.ones(len(x))
    none = jnp.zeros(len(x), jnp.int32)
    limit = none + DRAWS + BLENDS + (y.available if isinstance(y, Starts) else 0)
    begun = Start(x, zero > 0, x, zero, one, none, limit, none)
    ended: Start = iterate(BoundarySearch(), model, threat, x, (y, keys), begun, DRAWS + BLENDS + STARTS + HALVINGS)
    return ended


def _candidates(keys: Array, x: Array, y: Array | Starts, count: Array) -> Array:
    """Return the candidate number `count` of each image."""
    keys = fresh(keys, count)
    noise = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)

    def later() -> Array:
        mixed = jax.vmap(_mixture)(keys, x, noise, count)
        if isinstance(y, Starts) and y.images.shape[1]:
            mixed = per_image(count >= DRAWS + BLENDS)(seeds(y, count - DRAWS - BLENDS), mixed)
        chosen: Array = per_image(count >= DRAWS)(mixed, noise)
        return chosen

    found: Array = jax.lax.cond((count >= DRAWS).any(), later, lambda: noise)
    return found


def _mixture(key: Array, x: Array, noise: Array, count: Array) -> Array:
    """Mix one image with one of four kinds of noise in turn, made from uniform noise, by a random share."""
    kinds = (
        noise,
        jnp.clip(0.5 + 0.5 * jax.scipy.special.ndtri(noise), 0.0, 1.0),  # normal
        jnp.broadcast_to(noise[0, 0], x.shape),
        jax.image.resize(noise[:COARSE, :COARSE], x.shape, "linear"),
    )
    share = 1 - jax.random.uniform(jax.random.fold_in(key, 1))  # in (0, 1]
    return x + share * (jnp.stack(kinds)[count % len(kinds)] - x)


def seeds(y: Starts, number: Array) -> Array:
    """Pick one of each image's images of other classes.

    Parameters
    ----------
    y : Starts
        Labels and images `[B, S, H, W, C]`.
    number : Array
        int32 `[B]`, clipped to [0, S - 1].

    Returns
    -------
    Array
        float32 `[B, H, W, C]`.
    """
    chosen: Array = jax.vmap(lambda images, at: images[jnp.clip(at, 0, len(images) - 1)])(y.images, number)
    return chosen


def narrow(hit: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Halve the interval after a query at its middle; `high` stays adversarial.

    Parameters
    ----------
    hit : Array
        bool `[B]`: the middle was misclassified.
    low, high : Array
        float32 `[B]`: ends of the interval.

    Returns
    -------
    tuple[Array, Array]
        The new ends.
    """
    middle = (low + high) / 2
    return jnp.where(hit, low, middle), jnp.where(hit, middle, high)


def interpolate(threat: Threat, x0: Array, x: Array, share: Array) -> Array:
    """Interpolate from `x0` to `x` at `share` of the distance: on a line in L2, on a clipped cube in Linf.

    Parameters
    ----------
    threat : Threat
        Its norm decides.
    x0, x : Array
        Images `[H, W, C]`.
    share : Array
        From 0 to 1.

    Returns
    -------
    Array
        Image `[H, W, C]`.
    """
    d = x - x0
    if threat.norm.name == "linf":
        bound = share * jnp.abs(d).max()
        return x0 + jnp.clip(d, -bound, bound)
    return x0 + share * d


def fresh(keys: Array, count: Array) -> Array:
    """Derive a new key for each image's next query.

    Parameters
    ----------
    keys : Array
        One PRNG key per image.
    count : Array
        Queries so far, int32 `[B]`.

    Returns
    -------
    Array
        One PRNG key per image.
    """
    return jax.vmap(jax.random.fold_in)(keys, count)


def unit(d: Array) -> Array:
    """Scale `d` to Euclidean length 1; 0 stays 0.

    Parameters
    ----------
    d : Array
        float32, of any shape.

    Returns
    -------
    Array
        The same shape.
    """
    d = d / jnp.maximum(jnp.abs(d).max(), TINY)
    return d / jnp.maximum(jnp.sqrt(jnp.square(d).sum()), 1.0)  # 0 or at least 1, as the largest value is
