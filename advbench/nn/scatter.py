"""Input gradient of a convolution as one matrix product, whose results are added where they belong."""

from collections.abc import Sequence
from functools import reduce
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax


def scattered(
    kernel: jax.Array, dy: jax.Array, size: Sequence[int], pads: Sequence[tuple[int, int]], stride: int = 1
) -> jax.Array:
    """Return the gradient of a convolution's images: each output times all taps of the window, then summed.

    With steps between windows, and for few channels, XLA takes half the time or less of a convolution of `dy`.

    Parameters
    ----------
    kernel : jax.Array
        Weights `[kh, kw, C, O]`.
    dy : jax.Array
        Gradient of the output, `[B, H', W', O]`.
    size : Sequence[int]
        Height and width of the images.
    pads : Sequence[tuple[int, int]]
        Zeros around the images, of the forward pass: rows (above, below) and columns (left, right).
    stride : int, default 1
        Step between windows.

    Returns
    -------
    jax.Array
        `[B, H, W, C]`.
    """
    kernel = filled(kernel, stride)
    (b, h, w, o), (kh, kw, c, _) = dy.shape, kernel.shape
    rows, columns, none = kh // stride, kw // stride, jnp.zeros((), dy.dtype)
    taps = kernel.reshape(rows, stride, columns, stride, c, o).transpose(5, 0, 2, 1, 3, 4).reshape(o, -1)
    steps = (dy.reshape(-1, o) @ taps).reshape(b, h, w, rows, columns, -1)  # of s x s pixels each
    moved = [
        lax.pad(steps[:, :, :, i, j], none, [(0, 0, 0), (i, rows - 1 - i, 0), (j, columns - 1 - j, 0), (0, 0, 0)])
        for i, j in product(range(rows), range(columns))
    ]
    h, w = h + rows - 1, w + columns - 1
    dx = reduce(jnp.add, moved).reshape(b, h, w, stride, stride, c).transpose(0, 1, 3, 2, 4, 5)
    dx = dx.reshape(b, h * stride, w * stride, c)
    fit = [(-low, n + low - m, 0) for n, m, (low, _) in zip(size, dx.shape[1:3], pads, strict=True)]
    return lax.pad(dx, none, [(0, 0, 0), *fit, (0, 0, 0)])


def filled(kernel: jax.Array, stride: int) -> jax.Array:
    """Add zeros to a window, below and to the right, until its sides are multiples of the stride.

    Parameters
    ----------
    kernel : jax.Array
        Weights `[kh, kw, C, O]`.
    stride : int
        Step between windows.

    Returns
    -------
    jax.Array
        Weights.
    """
    return jnp.pad(kernel, [*((0, -k % stride) for k in kernel.shape[:2]), (0, 0), (0, 0)])
