"""Operations on batches, image by image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core.threat import Threat


def filled(x: Array, value: float, dtype: Any = np.float32) -> Any:
    """Return one and the same number for each image; made on the host, where it takes no program.

    Parameters
    ----------
    x : Array
        Anything with leading axis B.
    value : float
        The number.
    dtype : type, default np.float32
        Its type.

    Returns
    -------
    Any
        `[B]`.
    """
    return np.full(len(x), value, dtype)


def blank(x: Array) -> Any:
    """Return zeros like images; made on the host, where it takes no program.

    Parameters
    ----------
    x : Array
        Any shape.

    Returns
    -------
    Any
        Of the shape and type of `x`.
    """
    return np.zeros(x.shape, x.dtype)


def per_image(mask: Array) -> Any:
    """Return `where(mask, new, old)` for arrays of any rank with leading axis B.

    Parameters
    ----------
    mask : Array
        bool `[B]`.

    Returns
    -------
    Any
        Function of `new` and `old`, arrays or numbers of one shape `[B, ...]`.
    """
    return lambda new, old: jnp.where(mask.reshape(-1, *[1] * (jnp.ndim(old) - 1)), new, old)


def scaled(by: Array, x: Array) -> Array:
    """Multiply each image by its own factor.

    Parameters
    ----------
    by : Array
        float32 `[B]`.
    x : Array
        float32 `[B, H, W, C]`.

    Returns
    -------
    Array
        float32 `[B, H, W, C]`.
    """
    return by[:, None, None, None] * x


def kept_inside(threat: Threat, x: Array, best: Array) -> Array:
    """Return `best` unchanged inside the ball, else project it.

    Images inside are kept bit by bit, since they may lie barely beyond a decision boundary.

    Parameters
    ----------
    threat : Threat
        Norm ball and pixel box to stay in.
    x : Array
        Clean images, float32 `[B, H, W, C]`.
    best : Array
        Candidates of the same shape.

    Returns
    -------
    Array
        Images within the ball.
    """
    image: Array = _kept_inside(threat, x, best)
    return image


@jax.jit
def _kept_inside(threat: Threat, x: Array, best: Array) -> Array:
    inside = jax.vmap(threat.length)(x, best) <= threat.eps
    image: Array = per_image(inside)(best, jax.vmap(threat.project)(x, best))
    return image
