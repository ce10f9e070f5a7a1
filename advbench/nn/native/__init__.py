"""Convolution and batch normalisation in C++ that XLA calls on CPU; pure JAX takes over where it is unavailable.

The source is compiled for this processor at its first use, into the platform's cache folder, and must agree with NumPy
before it is used. `ADVBENCH_NATIVE=0` switches it off.
"""

import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap

from advbench.core.plain import is_reference
from advbench.nn.native.build import lanes, problem

LARGEST = 7  # side of a window
CACHE = 1 << 17  # weights of a window that are read anew for each row of an image, in numbers

Pads = tuple[tuple[int, int], tuple[int, int]]


def status() -> str:
    """Return the status of the kernel; the first call builds it.

    With several devices it is off, since XLA can't split a call of it: it would gather the whole batch on each of them.

    Returns
    -------
    str
        `on`, or `off: ` and the reason.
    """
    if jax.device_count() > 1:
        return f"off: {jax.device_count()} devices"
    if os.environ.get("ADVBENCH_NATIVE") == "0":
        return "off: ADVBENCH_NATIVE=0"
    reason = problem()
    return f"off: {reason}" if reason else "on"


def serves(x: Array, window: Sequence[int], *, fused: bool = False, stride: int = 1) -> bool:
    """Tell whether the kernel is available, supports these shapes, and native kernels are allowed.

    Parameters
    ----------
    x : Array
        Images `[B, H, W, C]`.
    window : Sequence[int]
        Shape of the weights, `[kh, kw, C, O]`, in float32: up to 7x7, and O fills a vector (of 8 numbers, or of the
        processor's width). Where C does not, the weights must fit into the processor's second cache. With 3x3 windows
        and stride 1, C and O that fill whole vectors are fastest, and O may be at most 4.
    fused : bool, default False
        Ask for `conv_relu` instead of `conv`; it needs 3x3, and O to fill whole vectors.
    stride : int, default 1
        Step between windows.

    Returns
    -------
    bool
        True if `conv` may be called.
    """
    *size, c, o = window
    if is_reference() or c * o * x.size == 0 or x.dtype != np.float32 or status() != "on":
        return False
    if size == [3, 3] and stride == 1 and any(_fits(c, o, whole) and not (fused and o % whole) for whole in lanes()):
        return True
    if fused or o < lanes()[-1] or max(size) > LARGEST:
        return False
    return c >= lanes()[-1] or size[0] * size[1] * c * o <= CACHE


def serves_weights(x: Array, window: Sequence[int]) -> bool:
    """Tell whether `weight_gradient` may be called.

    Parameters
    ----------
    x : Array
        Images `[B, H, W, C]`.
    window : Sequence[int]
        Shape of the weights, `[kh, kw, C, O]`, in float32: up to 7x7, and O fills whole vectors.

    Returns
    -------
    bool
        True if the kernel is available, supports these shapes, and native kernels are allowed.
    """
    *size, c, o = window
    if is_reference() or c * o * x.size == 0 or x.dtype != np.float32 or status() != "on":
        return False
    return max(size) <= LARGEST and o % lanes()[-1] == 0


def serves_norm(x: Array) -> bool:
    """Tell whether `norm` may be called.

    Parameters
    ----------
    x : Array
        Images `[B, H, W, C]`; C must fill whole vectors.

    Returns
    -------
    bool
        True if the kernel is available, supports this shape, and native kernels are allowed.
    """
    if is_reference() or x.ndim != 4 or x.size == 0 or x.dtype != np.float32 or jax.default_backend() != "cpu":
        return False
    return status() == "on" and x.shape[3] % lanes()[-1] == 0


def _fits(c: int, o: int, whole: int) -> bool:
    """Tell whether vectors of `whole` numbers suit these channels."""
    deep, few, many = c % whole == o % whole == 0, c <= 4 and o % whole == 0, c % whole == 0 and o <= 4
    return deep or few or many


def conv(x: Array, kernel: Array, pads: Pads, stride: int = 1) -> Array:
    """Cross-correlate images with a kernel.

    Parameters
    ----------
    x : Array
        Images `[B, H, W, C]` float32.
    kernel : Array
        Weights `[kh, kw, C, O]` float32.
    pads : Pads
        Rows and columns of zeros (low, high) around the image; negative ones crop.
    stride : int, default 1
        Step between windows.

    Returns
    -------
    Array
        `[B, H', W', O]` float32, to about 1e-6 of the largest. The same bits for any batch size and number of threads.
    """
    *window, c, o = kernel.shape
    if window == [3, 3] and stride == 1 and any(_fits(c, o, whole) for whole in lanes()):
        width = _width(kernel)
    else:
        width, kernel = _filled(kernel)
    y = _f32(len(x), *_size(x.shape[1:3], pads, window, stride), kernel.shape[3])
    return _call("conv", width, (y,), 1, top=pads[0][0], left=pads[1][0], stride=stride)(x, kernel)[0][..., :o]


def image_gradient(dy: Array, kernel: Array, size: Sequence[int], pads: Pads, stride: int) -> Array:
    """Return the gradient of the images of a convolution of any window and stride.

    Parameters
    ----------
    dy : Array
        Gradient of the output, `[B, H', W', O]` float32.
    kernel : Array
        Weights, channels exchanged, `[kh, kw, O, C]` float32.
    size : Sequence[int]
        Height and width of the images.
    pads : Pads
        Rows and columns of zeros (low, high) around the images.
    stride : int
        Step between windows.

    Returns
    -------
    Array
        `[B, H, W, C]` float32.
    """
    c = kernel.shape[3]
    width, kernel = _filled(kernel)
    dx = _f32(len(dy), *size, kernel.shape[3])
    return _call("images", width, (dx,), 1, top=pads[0][0], left=pads[1][0], stride=stride)(dy, kernel)[0][..., :c]


def _filled(kernel: Array) -> tuple[int, Array]:
    """Return a number of lanes, and a kernel whose outputs fill whole vectors of it, with zeros if need be."""
    o = kernel.shape[3]
    width = next((whole for whole in lanes() if o % whole == 0), lanes()[-1])
    return width, jnp.pad(kernel, [(0, 0)] * 3 + [(0, -o % width)]) if o % width else kernel


def conv_relu(x: Array, kernel: Array, bias: Array, pads: Pads, window: int, *, codes: bool) -> tuple[Array, Array]:
    """Apply `conv`, then `bias` `[O]`, ReLU, and the maximum over disjoint windows of side 1 or 2.

    Parameters
    ----------
    x, kernel, pads
        As for `conv`.
    bias : Array
        `[O]` float32.
    window : int
        Side of the pooling window, 1 or 2.
    codes : bool
        Whether to return the origin of each value.

    Returns
    -------
    tuple[Array, Array]
        `[B, H' // window, W' // window, O]`, and if requested, in the same shape, codes uint8: the pixel of its window
        that each value comes from, row by row from 1, or 0 where ReLU was inactive. Else the codes are empty.
    """
    height, width = _size(x.shape[1:3], pads)
    shape = (len(x), height // window, width // window, kernel.shape[3])
    which = jax.ShapeDtypeStruct(shape if codes else (len(x), 0), np.uint8)
    where = {"top": pads[0][0], "left": pads[1][0], "height": height, "width": width, "window": window}
    y, kept = _call("relu", _width(kernel), (_f32(*shape), which), 1, **where)(x, kernel, bias)
    return y, kept


def conv_back(dy: Array, codes: Array, kernel: Array, size: Sequence[int], pads: Pads, window: int) -> Array:
    """Spread `dy` over windows by the `codes` of `conv_relu`, to images of height and width `size`, then apply `conv`.

    Parameters
    ----------
    dy : Array
        Gradient of the output, `[B, h, w, O]` float32.
    codes : Array
        uint8, in the shape of `dy`.
    kernel : Array
        Flipped weights, `[3, 3, O, C]` float32.
    size : Sequence[int]
        Height and width before pooling.
    pads : Pads
        As for `conv`.
    window : int
        Side of the pooling window, 1 or 2.

    Returns
    -------
    Array
        Gradient of the images, `[B, H, W, C]` float32.
    """
    height, width = size
    dx = _f32(len(dy), *_size(size, pads), kernel.shape[3])
    where = {"top": pads[0][0], "left": pads[1][0], "height": height, "width": width, "window": window}
    return _call("back", _width(kernel), (dx,), 2, **where)(dy, codes, kernel)[0]


def weight_gradient(x: Array, dy: Array, window: Sequence[int], pads: Pads, stride: int = 1) -> Array:
    """Return the gradient of the kernel.

    Parameters
    ----------
    x : Array
        Images `[B, H, W, C]` float32.
    dy : Array
        Gradient of the output, `[B, H', W', O]` float32.
    window : Sequence[int]
        Height and width of the kernel.
    pads : Pads
        As for `conv`.
    stride : int, default 1
        Step between windows.

    Returns
    -------
    Array
        `[kh, kw, C, O]` float32.
    """
    c, o = x.shape[3], dy.shape[3]
    width = next((whole for whole in lanes() if c % whole == o % whole == 0), _whole(o))
    dw = _f32(*window, c, o)
    return _call("weights", width, (dw,), 0, top=pads[0][0], left=pads[1][0], stride=stride)(x, dy)[0]


def norm(x: Array, scale: Array, bias: Array, epsilon: float, *, relu: bool) -> tuple[Array, Array, Array]:
    """Normalise images by their own mean and variance, and apply ReLU if requested.

    Parameters
    ----------
    x : Array
        Images `[B, H, W, C]` float32.
    scale, bias : Array
        `[C]` float32.
    epsilon : float
        Addition to the variance.
    relu : bool
        Whether ReLU follows.

    Returns
    -------
    tuple[Array, Array, Array]
        Images in the shape of `x`; mean and variance over batch and pixels, `[C]`.
    """
    each = _f32(x.shape[3])
    call = _call("norm", _whole(x.shape[3]), (_f32(*x.shape), each, each), 0, relu=relu)
    y, mean, var = call(x, scale, bias, jnp.float32(epsilon))
    return y, mean, var


def norm_back(
    dy: Array, x: Array, mean: Array, var: Array, scale: Array, bias: Array, epsilon: float, *, relu: bool
) -> tuple[Array, Array, Array]:
    """Return the gradients of `norm`, of which only the images are used.

    Parameters
    ----------
    dy : Array
        Gradient of the images, `[B, H, W, C]` float32.
    x, scale, bias, epsilon, relu
        As for `norm`.
    mean, var : Array
        Results of `norm`.

    Returns
    -------
    tuple[Array, Array, Array]
        Gradients of `x`, `scale` and `bias`.
    """
    each = _f32(x.shape[3])
    call = _call("norm_back", _whole(x.shape[3]), (_f32(*x.shape), each, each), 0, relu=relu)
    dx, dscale, dbias = call(dy, x, mean, var, scale, bias, jnp.float32(epsilon))
    return dx, dscale, dbias


def _whole(channels: int) -> int:
    """Return the largest number of lanes that these channels fill."""
    return next(whole for whole in lanes() if channels % whole == 0)


def _width(kernel: Array | jax.ShapeDtypeStruct) -> int:
    """Return the number of lanes that suits a kernel's channels best."""
    return next(whole for whole in lanes() if _fits(kernel.shape[2], kernel.shape[3], whole))


def _f32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


def _size(size: Sequence[int], pads: Pads, window: Sequence[int] = (3, 3), stride: int = 1) -> tuple[int, int]:
    """Return height and width of a convolution's output."""
    height, width = ((n + low + high - k) // stride + 1 for n, k, (low, high) in zip(size, window, pads, strict=True))
    return height, width


def _call(
    name: str, whole: int, results: tuple[jax.ShapeDtypeStruct, ...], images: int, **where: int
) -> Callable[..., Sequence[Array]]:
    """Return a function that calls the kernel; the first `images` arguments have leading axis B."""
    target = f"advbench_{name}_{whole}"
    attributes = {key: np.int64(value) for key, value in where.items()}

    @custom_vmap
    def call(*arguments: Array) -> Sequence[Array]:
        return tuple(jax.ffi.ffi_call(target, results)(*arguments, **attributes))

    @call.def_vmap
    def rule(size: int, batched: Sequence[bool], *arguments: Array) -> tuple[Sequence[Array], Sequence[bool]]:
        rows = [
            v if many else jnp.broadcast_to(v, (size, *v.shape)) for v, many in zip(arguments, batched, strict=True)
        ]
        if images and not any(batched[images:]):  # the same weights: more images
            flat = [v.reshape(-1, *v.shape[2:]) for v in rows[:images]]
            more = tuple(jax.ShapeDtypeStruct((size * r.shape[0], *r.shape[1:]), r.dtype) for r in results)
            found = _call(name, whole, more, images, **where)(*flat, *arguments[images:])
            found = tuple(v.reshape(size, *r.shape) for v, r in zip(found, results, strict=True))
        else:
            found = lax.map(lambda row: call(*row), tuple(rows))
        return found, (True,) * len(results)

    return call
