"""What attacks do image by image to batches of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.threat import Threat


def per_image(mask: Array) -> Any:
    """`where(mask, new, old)` for arrays of any rank with leading axis B."""
    return lambda new, old: jnp.where(mask.reshape(-1, *[1] * (jnp.ndim(old) - 1)), new, old)


def scaled(by: Array, x: Array) -> Array:
    """Each image times its own factor."""
    return by[:, None, None, None] * x


def allowed(threat: Threat, x: Array, best: Array) -> Array:
    """`best` to the bit where it lies in the ball, since it may lie just past a boundary; else projected towards it."""
    image: Array = _allowed(threat, x, best)
    return image


@jax.jit
def _allowed(threat: Threat, x: Array, best: Array) -> Array:
    inside = jax.vmap(threat.size)(x, best) <= threat.eps
    image: Array = per_image(inside)(best, jax.vmap(threat.project)(x, best))
    return image
