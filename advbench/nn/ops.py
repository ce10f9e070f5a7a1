"""Convolution whose gradients stay fast on CPU, also inside compiled loops.

XLA's CPU backend runs a *plain* convolution (no dilation, NHWC x HWIO) by a fast kernel, but the gradients that JAX
derives for it are not plain, and inside `fori_loop`, `scan` or `while_loop` they take a naive path that is ten times
slower. Here both gradients are plain convolutions. Every convolution of this package goes through `conv2d`, so that a
faster kernel has one place: `_correlate`.

Gradients can be differentiated again, for training that penalises input gradients: a convolution and its two gradients
are each linear in both arguments, and the derivatives of each are the other two.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from advbench.nn import native
from advbench.nn.scatter import filled, scattered

Padding = Literal["SAME", "VALID"] | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], tuple[int, int]]
FEW = 4  # channels of an image, for whose gradient `scattered` is faster than a convolution


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding) -> jax.Array:
    """Cross-correlate a batch of images with a kernel, which deep-learning libraries call convolution.

    Parameters
    ----------
    x : jax.Array
        Images `[B, H, W, C]`.
    kernel : jax.Array
        Weights `[kh, kw, C, O]`, of the same dtype.
    stride : int, default 1
        Step between windows, the same in both directions.
    padding : Padding
        "SAME", "VALID", or pairs (low, high): zeros around the image, as in `jax.lax.conv_general_dilated`.

    Returns
    -------
    jax.Array
        `[B, H', W', O]` of the dtype of `x`.
    """
    pads = explicit(padding, x.shape[1:3], kernel.shape[:2], stride)
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return _conv(x, kernel, pads) if stride == 1 else _strided(x, kernel, pads, stride)


def explicit(padding: Padding, size: Sequence[int], window: Sequence[int], stride: int) -> Pads:
    """Convert padding to numbers of zeros.

    Parameters
    ----------
    padding : Padding
        As for `conv2d`.
    size : Sequence[int]
        Height and width of the images.
    window : Sequence[int]
        Height and width of the kernel.
    stride : int
        Step between windows.

    Returns
    -------
    Pads
        Rows (above, below) and columns (left, right).
    """
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(size, window, (stride, stride), padding)
    (top, bottom), (left, right) = padding
    return (int(top), int(bottom)), (int(left), int(right))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _strided(x: jax.Array, kernel: jax.Array, pads: Pads, stride: int) -> jax.Array:
    if native.serves(x, kernel.shape, stride=stride):
        return native.conv(x, kernel, pads, stride)
    return _folded(x, kernel, pads, stride)


def _strided_fwd(x: jax.Array, kernel: jax.Array, pads: Pads, stride: int) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _strided(x, kernel, pads, stride), (x, kernel)


def _strided_bwd(pads: Pads, stride: int, saved: tuple[jax.Array, ...], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    size, window = x.shape[1:3], kernel.shape[:2]
    return _strided_images(kernel, dy, size, pads, stride), _strided_weights(x, dy, window, pads, stride)


_strided.defvjp(_strided_fwd, _strided_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _strided_images(kernel: jax.Array, dy: jax.Array, size: Sequence[int], pads: Pads, stride: int) -> jax.Array:
    """Return the gradient of the images."""
    swapped = kernel.swapaxes(2, 3)
    if native.serves(dy, swapped.shape, stride=stride):
        return native.image_gradient(dy, swapped, size, pads, stride)
    return scattered(kernel, dy, size, pads, stride)


def _strided_images_fwd(
    kernel: jax.Array, dy: jax.Array, size: Sequence[int], pads: Pads, stride: int
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _strided_images(kernel, dy, size, pads, stride), (kernel, dy)


def _strided_images_bwd(
    size: Sequence[int], pads: Pads, stride: int, saved: tuple[jax.Array, ...], ddx: jax.Array
) -> tuple[jax.Array, jax.Array]:
    kernel, dy = saved
    return _strided_weights(ddx, dy, kernel.shape[:2], pads, stride), _strided(ddx, kernel, pads, stride)


_strided_images.defvjp(_strided_images_fwd, _strided_images_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _strided_weights(x: jax.Array, dy: jax.Array, window: Sequence[int], pads: Pads, stride: int) -> jax.Array:
    """Return the gradient of the kernel."""
    kernel = (*window, x.shape[3], dy.shape[3])
    if native.serves_weights(x, kernel):
        return native.weight_gradient(x, dy, window, pads, stride)
    zeros = jnp.zeros(kernel, x.dtype)
    back: Callable[..., tuple[jax.Array]] = jax.vjp(lambda kernel: _folded(x, kernel, pads, stride), zeros)[1]
    return back(dy)[0]


def _strided_weights_fwd(
    x: jax.Array, dy: jax.Array, window: Sequence[int], pads: Pads, stride: int
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _strided_weights(x, dy, window, pads, stride), (x, dy)


def _strided_weights_bwd(
    window: Sequence[int], pads: Pads, stride: int, saved: tuple[jax.Array, ...], dkernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, dy = saved
    return _strided_images(dkernel, dy, x.shape[1:3], pads, stride), _strided(x, dkernel, pads, stride)


_strided_weights.defvjp(_strided_weights_fwd, _strided_weights_bwd)


def _folded(x: jax.Array, kernel: jax.Array, pads: Pads, stride: int) -> jax.Array:
    return _conv(*_unstride(x, kernel, stride, pads))


def _unstride(x: jax.Array, kernel: jax.Array, s: int, pads: Pads) -> tuple[jax.Array, jax.Array, Pads]:
    """Turn a convolution of stride s into one of stride 1 by folding s x s pixels into channels.

    Both gradients are then those of the folding, which are reshapes, and of a convolution of stride 1.
    """
    window, kernel, fit = kernel.shape[:2], filled(kernel, s), []
    for size, k, g, (low, high) in zip(x.shape[1:3], window, kernel.shape[:2], pads, strict=True):
        windows = (size + low + high - k) // s + 1
        fit.append((low, (windows - 1) * s + g - size - low, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *fit, (0, 0, 0)])
    b, h, w, c = x.shape
    x = x.reshape(b, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // s, w // s, s * s * c)
    h, w, c, o = kernel.shape
    kernel = kernel.reshape(h // s, s, w // s, s, c, o).transpose(0, 2, 1, 3, 4, 5)
    return x, kernel.reshape(h // s, w // s, s * s * c, o), ((0, 0), (0, 0))


def _correlate(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """Plain convolution of stride 1: NHWC x HWIO -> NHWC."""
    if native.serves(x, kernel.shape):
        return native.conv(x, kernel, pads)
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    return _correlate(x, kernel, pads)


def _conv_fwd(x: jax.Array, kernel: jax.Array, pads: Pads) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv(x, kernel, pads), (x, kernel)


def _conv_bwd(pads: Pads, saved: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return input_gradient(kernel, dy, pads), weight_gradient(x, dy, pads)


_conv.defvjp(_conv_fwd, _conv_bwd)


def input_gradient(kernel: jax.Array, dy: jax.Array, pads: Pads) -> jax.Array:
    """Return the gradient of a convolution's images: correlate `dy` with the flipped kernel, channels exchanged.

    Parameters
    ----------
    kernel : jax.Array
        Weights `[kh, kw, C, O]`.
    dy : jax.Array
        Gradient of the output, `[B, H', W', O]`.
    pads : Pads
        Zeros around the images, of the forward pass.

    Returns
    -------
    jax.Array
        `[B, H, W, C]`.
    """
    around = flipped(kernel, pads)
    if kernel.shape[2] <= FEW and not native.serves(dy, around[0].shape):
        sides = zip(dy.shape[1:3], kernel.shape[:2], pads, strict=True)
        return scattered(kernel, dy, [n + k - 1 - low - high for n, k, (low, high) in sides], pads)
    return _conv(dy, *around)


def flipped(kernel: jax.Array, pads: Pads) -> tuple[jax.Array, Pads]:
    """Return the kernel of the input gradient, and the zeros around its input.

    Parameters
    ----------
    kernel : jax.Array
        Weights `[kh, kw, C, O]`.
    pads : Pads
        Zeros around the images, of the forward pass.

    Returns
    -------
    tuple[jax.Array, Pads]
        Weights `[kh, kw, O, C]`, and zeros.
    """
    (top, bottom), (left, right) = pads
    h, w = kernel.shape[0] - 1, kernel.shape[1] - 1
    return kernel[::-1, ::-1].swapaxes(2, 3), ((h - top, h - bottom), (w - left, w - right))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def weight_gradient(x: jax.Array, dy: jax.Array, pads: Pads) -> jax.Array:
    """Return the gradient of a convolution's kernel: correlate `x` with `dy`.

    Parameters
    ----------
    x : jax.Array
        Images `[B, H, W, C]`.
    dy : jax.Array
        Gradient of the output, `[B, H', W', O]`.
    pads : Pads
        Zeros around the images, of the forward pass.

    Returns
    -------
    jax.Array
        `[kh, kw, C, O]`.
    """
    sides = zip(x.shape[1:3], dy.shape[1:3], pads, strict=True)
    window = [n + low + high - m + 1 for n, m, (low, high) in sides]
    if native.serves_weights(x, (*window, x.shape[3], dy.shape[3])):
        return native.weight_gradient(x, dy, window, pads)
    # Batch and channels are exchanged by hand: in a loop only NHWC x HWIO is fast.
    return _correlate(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3), pads).transpose(1, 2, 0, 3)


def _weight_gradient_fwd(x: jax.Array, dy: jax.Array, pads: Pads) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return weight_gradient(x, dy, pads), (x, dy)


def _weight_gradient_bwd(
    pads: Pads, saved: tuple[jax.Array, jax.Array], dkernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, dy = saved
    return input_gradient(dkernel, dy, pads), _conv(x, dkernel, pads)


weight_gradient.defvjp(_weight_gradient_fwd, _weight_gradient_bwd)
