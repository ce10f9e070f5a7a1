"""Convolution fused with bias, ReLU and 2x2 max-pooling, in one pass of the native kernel.

Like `ops`, it can be differentiated twice: the codes kept from the forward pass say where values came from and do not
depend on the weights, so the backward pass is linear, and falls back to plain operations where it is differentiated.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from advbench.nn import native
from advbench.nn.ops import (
    Padding,
    Pads,
    conv2d,
    explicit,
    flipped,
    input_gradient,
    weight_gradient,
)
from advbench.nn.pooling import max_pool

Size = tuple[int, int]
Saved = tuple[jax.Array, jax.Array, jax.Array]


def conv_relu(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: int = 1, padding: Padding, pool: bool = False
) -> jax.Array:
    """Convolve, add a bias, apply ReLU, and take the maximum over 2x2 windows if requested.

    The same as `conv2d`, `jax.nn.relu` and `max_pool` in turn; on CPU, with stride 1, the native kernel does it all
    while the values are in registers.

    Parameters
    ----------
    x : jax.Array
        Images `[B, H, W, C]`.
    kernel : jax.Array
        Weights `[kh, kw, C, O]`, of the same dtype.
    bias : jax.Array
        `[O]`, of the same dtype.
    stride : int, default 1
        Step between windows, the same in both directions.
    padding : Padding
        As for `conv2d`.
    pool : bool, default False
        Whether to pool.

    Returns
    -------
    jax.Array
        `[B, H', W', O]`, or half that size. NaN stays NaN.
    """
    pads = explicit(padding, x.shape[1:3], kernel.shape[:2], stride)
    if stride == 1 and jax.default_backend() == "cpu" and native.serves(x, kernel.shape, fused=True):
        return _fused(x, kernel, bias, pads, 2 if pool else 1)
    y = jax.nn.relu(conv2d(x, kernel, stride=stride, padding=pads) + bias)
    return max_pool(y) if pool else y


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _fused(x: jax.Array, kernel: jax.Array, bias: jax.Array, pads: Pads, window: int) -> jax.Array:
    return native.conv_relu(x, kernel, bias, pads, window, codes=False)[0]


def _fused_fwd(x: jax.Array, kernel: jax.Array, bias: jax.Array, pads: Pads, window: int) -> tuple[jax.Array, Saved]:
    y, codes = _coded(x, kernel, bias, pads, window)
    return y, (x, kernel, codes)


def _fused_bwd(pads: Pads, window: int, saved: Saved, dy: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, kernel, codes = saved
    height, width = (n + low + high - 2 for n, (low, high) in zip(x.shape[1:3], pads, strict=True))
    spread = _spread(dy, codes, (height, width), window)  # unused unless weights are trained
    dx = _back(dy, codes, kernel, (height, width), pads, window)
    return dx, weight_gradient(x, spread, pads), spread.sum((0, 1, 2))


_fused.defvjp(_fused_fwd, _fused_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _coded(x: jax.Array, kernel: jax.Array, bias: jax.Array, pads: Pads, window: int) -> tuple[jax.Array, jax.Array]:
    """Return the output, and the codes that the backward pass needs."""
    return native.conv_relu(x, kernel, bias, pads, window, codes=True)


def _coded_fwd(x: jax.Array, kernel: jax.Array, bias: jax.Array, pads: Pads, window: int) -> tuple[Any, Saved]:
    y, codes = _coded(x, kernel, bias, pads, window)
    return (y, codes), (x, kernel, codes)


def _coded_bwd(pads: Pads, window: int, saved: Saved, dy: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    return _fused_bwd(pads, window, saved, dy[0])


_coded.defvjp(_coded_fwd, _coded_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _back(dy: jax.Array, codes: jax.Array, kernel: jax.Array, size: Size, pads: Pads, window: int) -> jax.Array:
    """Return the gradient of the images."""
    kernel, around = flipped(kernel, pads)
    return native.conv_back(dy, codes, kernel, size, around, window)


def _back_fwd(
    dy: jax.Array, codes: jax.Array, kernel: jax.Array, size: Size, pads: Pads, window: int
) -> tuple[jax.Array, Saved]:
    return _back(dy, codes, kernel, size, pads, window), (dy, codes, kernel)


def _back_bwd(size: Size, pads: Pads, window: int, saved: Saved, ddx: jax.Array) -> tuple[jax.Array, None, jax.Array]:
    dy, codes, kernel = saved

    def plain(dy: jax.Array, kernel: jax.Array) -> jax.Array:
        return input_gradient(kernel, _spread(dy, codes, size, window), pads)

    ddy, dkernel = jax.vjp(plain, dy, kernel)[1](ddx)
    return ddy, None, dkernel


_back.defvjp(_back_fwd, _back_bwd)


def _spread(dy: jax.Array, codes: jax.Array, size: Size, window: int) -> jax.Array:
    """Put each gradient at the position of its maximum, in windows row by row; zeros where ReLU was inactive."""
    order = jnp.arange(1, window**2 + 1, dtype=codes.dtype).reshape(window, window, 1)
    b, h, w, c = dy.shape
    tiles = jnp.where(codes[:, :, None, :, None] == order[:, None], dy[:, :, None, :, None], 0)
    whole = tiles.reshape(b, h * window, w * window, c)
    return jnp.pad(whole, ((0, 0), (0, size[0] - h * window), (0, size[1] - w * window), (0, 0)))
