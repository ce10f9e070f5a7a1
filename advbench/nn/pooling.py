"""Maximum over windows, whose gradient goes to the first of equal pixels."""

from collections.abc import Sequence
from functools import reduce
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax


def max_pool(x: jax.Array, window: int = 2) -> jax.Array:
    """Maximum over disjoint windows; on ties the first in row-major order gets the gradient, as in PyTorch.

    JAX's own pooling splits the gradient among ties, which on MNIST's flat background changes attack results.

    Parameters
    ----------
    x : jax.Array
        `[B, H, W, C]`; rows and columns that fill no window are dropped. A NaN wins its window.
    window : int, default 2
        Side of the window, and the stride.

    Returns
    -------
    jax.Array
        `[B, H // window, W // window, C]`.
    """
    return reduce(_later, _window_slices(x, window))


def max_windows(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]]
) -> jax.Array:
    """Maximum over windows of any axes; on ties the first in row-major order gets the gradient, as in `max_pool`.

    Parameters
    ----------
    x : jax.Array
        Floats of any shape. A NaN wins its window.
    window, strides : sequence of int
        Sides of the window and steps between windows, by axis.
    pads : sequence of (low, high)
        What lies around it, by axis, and never wins.

    Returns
    -------
    jax.Array
        As many along each axis as windows fit.
    """
    fits = [(n + low + high - k) // s for n, (low, high), k, s in zip(x.shape, pads, window, strides, strict=True)]
    if (
        x.ndim == 4
        and tuple(window) == tuple(strides)
        and not any(map(any, pads))
        and window[1] == window[2]
        and window[0] == window[3] == 1
    ):
        return max_pool(x, window[1])
    padded = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), [(low, high, 0) for low, high in pads])
    return reduce(
        _later,
        (
            lax.slice(padded, at, [i + n * s + 1 for i, n, s in zip(at, fits, strides, strict=True)], strides)
            for at in product(*map(range, window))
        ),
    )


def _later(a: jax.Array, b: jax.Array) -> jax.Array:
    """The larger of two, the first of equal ones; NaN where either is."""
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def _window_slices(x: jax.Array, n: int) -> list[jax.Array]:
    """Split disjoint n x n windows into their n * n pixels, row by row: each [B, H // n, W // n, C]."""
    b, h, w, c = x.shape
    tiles = x[:, : h // n * n, : w // n * n].reshape(b, h // n, n, w // n, n, c)
    return [tiles[:, :, i, :, j] for i in range(n) for j in range(n)]
