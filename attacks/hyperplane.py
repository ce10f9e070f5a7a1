"""Shortest perturbation of an image to a hyperplane within the pixel box, in Linf, L2 and L1.

Croce & Hein (2020, arXiv 1907.02044, section 3.2) sort the pixels. Here the one-dimensional dual is solved instead, by
passes over the pixels: exactly, by Newton's method from below, in Linf and L2; by bisection in L1. All arithmetic is
for one image.
"""

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.norms import TINY, Norm

FAR = 1e30  # multiplier at which every pixel has used all its room
SHORT = 64  # numbers that are summed one after the other
HALVINGS = 24  # of L1's threshold: to the last digit of float32


def project_to_hyperplane(norm: Norm, x: Array, w: Array, gap: Array) -> Array:
    """Find the smallest `d` with `gap + w . d = 0` and `x + d` in [0, 1]; the nearest the box allows if there is none.

    Parameters
    ----------
    norm : Norm
        Norm to minimise: Linf, L2 or L1.
    x : Array
        Image, float32 `[H, W, C]` in [0, 1].
    w : Array
        Normal of the hyperplane, `[H, W, C]`.
    gap : Array
        Value of the affine function at `x`, a scalar.

    Returns
    -------
    Array
        Perturbation, float32 `[H, W, C]`.
    """
    steepest = jnp.maximum(jnp.abs(w).max(), TINY)  # tiny gradients would underflow when squared
    slope, need = jnp.abs(w) / steepest, jnp.abs(gap) / steepest
    way = -jnp.sign(w) * jnp.sign(gap)
    room = jnp.where(way > 0, 1.0 - x, jnp.where(way < 0, x, 0.0))
    if norm.name == "l1":
        return way * _steepest_first(slope, room, need)
    pace = jnp.sign(slope) if norm.name == "linf" else slope
    return way * _all_at_once(slope, pace, room, need)


def distance(norm: Norm, w: Array, gap: Array) -> Array:
    """Return the distance to the hyperplane `gap + w . d = 0` without the pixel box: `|gap|` over the dual norm of `w`.

    Parameters
    ----------
    norm : Norm
        Norm of the distance: Linf, L2 or L1.
    w : Array
        Normal of the hyperplane, `[H, W, C]`.
    gap : Array
        Value of the affine function at the image, a scalar.

    Returns
    -------
    Array
        Scalar, at least 0.
    """
    steepest = jnp.abs(w).max()
    slope = jnp.abs(w) / jnp.maximum(steepest, TINY)
    dual = {"linf": slope.sum(), "l2": jnp.sqrt(jnp.square(slope).sum()), "l1": slope.max()}[norm.name]
    return jnp.abs(gap) / (steepest * dual + 1e-12)


def _all_at_once(slope: Array, pace: Array, room: Array, need: Array) -> Array:
    """Move each pixel by min(t pace, room), with t such that `slope . moves = need`.

    The gain is concave in t, so that Newton's method approaches the root from below and ends on it.
    """
    gains, rates = slope * room, slope * pace

    def newton(span: tuple[Array, Array]) -> tuple[Array, Array]:
        t = span[1]
        full = t * pace >= room
        held, rate = _total(jnp.where(full, gains, 0.0)), _total(jnp.where(full, 0.0, rates))
        return t, jnp.where(rate > 0, jnp.maximum(t, (need - held) / jnp.maximum(rate, TINY)), FAR)

    start = (jnp.float32(-1.0), jnp.float32(0.0))
    _, t = jax.lax.while_loop(lambda span: span[1] > span[0], newton, start)
    return jnp.minimum(t * pace, room)


def _steepest_first(slope: Array, room: Array, need: Array) -> Array:
    """Move the steepest pixels by all their room, those at the threshold by a common share of it, no others."""
    gain = slope * room

    def halve(_: int, span: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (span[0] + span[1]) / 2
        enough = _total(jnp.where(slope > middle, gain, 0.0)) > need
        return jnp.where(enough, middle, span[0]), jnp.where(enough, span[1], middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (jnp.float32(0.0), jnp.float32(1.0)))
    whole, part = slope > high, (slope > low) & (slope <= high)
    left, there = need - jnp.where(whole, gain, 0.0).sum(), jnp.where(part, gain, 0.0).sum()
    share = jnp.clip(left / jnp.maximum(there, TINY), 0.0, 1.0)
    return jnp.where(whole, room, jnp.where(part, share * room, 0.0))


def _total(values: Array) -> Array:
    """Sum pairs, then pairs of pairs: on CPU, XLA adds one number after the other in a plain sum."""
    values = values.ravel()
    while values.size > SHORT and values.size % 2 == 0:
        values = values[: values.size // 2] + values[values.size // 2 :]
    return values.sum()
