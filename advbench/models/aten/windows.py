"""Core ATen operators on windows of pixels: convolution, pooling, resizing; most are what ONNX has too.

Of tied pixels of a pooling window the first has the gradient, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from advbench.models.aten.table import Value, as_onnx, entered

WINDOWS: Final = 64  # adaptive ones, at most


@entered("pixel_shuffle")
def _pixel_shuffle(x: Value, factor: int) -> Value:
    return as_onnx("DepthToSpace", x, blocksize=factor, mode="CRD")


@entered("convolution")
def _convolution(
    x: Value,
    kernel: Value,
    bias: Value,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    transposed: bool,
    beyond: Sequence[int],
    groups: int,
) -> Value:
    how = {"strides": strides, "pads": [*pads, *pads], "dilations": dilations, "group": groups}
    if transposed:
        return as_onnx("ConvTranspose", x, kernel, bias, **how, output_padding=beyond)
    return as_onnx("Conv", x, kernel, bias, **how)


@entered("max_pool2d_with_indices", "max_pool2d")
def _max_pool(
    x: Value,
    sides: Sequence[int],
    strides: Sequence[int] = (),
    pads: Sequence[int] = (0,),
    dilations: Sequence[int] = (1,),
    ceil: bool = False,
) -> tuple[Value, None]:
    how = _windows(2, sides, strides, pads, ceil)
    return as_onnx("MaxPool", x, **how, dilations=_each(2, dilations)), None


@entered("avg_pool2d", "avg_pool3d")
def _avg_pool(
    x: Value,
    sides: Sequence[int],
    strides: Sequence[int] = (),
    pads: Sequence[int] = (0,),
    ceil: bool = False,
    include: bool = True,
    divisor: int | None = None,
) -> Value:
    how = _windows(x.ndim - 2, sides, strides, pads, ceil)
    y = as_onnx("AveragePool", x, **how, count_include_pad=include or divisor)
    return y * math.prod(how["kernel_shape"]) / divisor if divisor else y


def _windows(
    rank: int, sides: Sequence[int], strides: Sequence[int], pads: Sequence[int], ceil: bool
) -> dict[str, Any]:
    return {
        "kernel_shape": _each(rank, sides),
        "strides": _each(rank, strides or sides),
        "pads": _each(rank, pads) * 2,
        "ceil_mode": ceil,
    }


def _each(rank: int, values: Sequence[int]) -> list[int]:
    """One number for each axis, where one may stand for all."""
    return [*values] * (rank // len(values))


@entered("adaptive_max_pool2d")
def _adaptive_max_pool(x: Value, sizes: Sequence[int]) -> tuple[Value, None]:
    """Window by window, as they are not all of one size."""
    if math.prod(sizes) > WINDOWS:
        raise NotImplementedError(f"{math.prod(sizes)} adaptive windows")
    (tops, bottoms), (lefts, rights) = (_cuts(n, after) for n, after in zip(x.shape[2:], sizes, strict=True))
    rows = [
        [as_onnx("GlobalMaxPool", x[:, :, top:bottom, left:right]) for left, right in zip(lefts, rights, strict=True)]
        for top, bottom in zip(tops, bottoms, strict=True)
    ]
    return jnp.concatenate([jnp.concatenate(row, 3) for row in rows], 2), None


def _cuts(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of the windows begins and ends."""
    at = np.arange(after)
    return at * before // after, -(-(at + 1) * before // after)


@entered("_adaptive_avg_pool2d", "adaptive_avg_pool2d")
def _adaptive_avg_pool(x: Value, sizes: Sequence[int]) -> Value:
    """By a matrix for each axis: windows begin and end where whole pixels do."""
    for axis, after in zip((2, 3), sizes, strict=True):
        before = x.shape[axis]
        low, high = _cuts(before, after)
        pixels = np.arange(before)
        weights = ((pixels >= low[:, None]) & (pixels < high[:, None])) / (high - low)[:, None]
        x = jnp.moveaxis(
            jnp.tensordot(x, jnp.asarray(weights, x.dtype), ((axis,), (1,)), precision="highest"), -1, axis
        )
    return x


@entered("upsample_nearest2d", "upsample_nearest2d.vec")
def _nearest(x: Value, sizes: Sequence[int] | None, *scales: Any) -> Value:
    return _resized(x, sizes, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@entered("upsample_bilinear2d", "upsample_bilinear2d.vec")
def _bilinear(x: Value, sizes: Sequence[int] | None, aligned: bool, *scales: Any) -> Value:
    where = "align_corners" if aligned else "half_pixel"
    return _resized(x, sizes, scales, mode="linear", coordinate_transformation_mode=where)


def _resized(x: Value, sizes: Sequence[int] | None, scales: Sequence[Any], **how: Any) -> Value:
    if sizes is None:
        (factors,) = scales
        return as_onnx("Resize", x, None, np.asarray([1, 1, *factors], np.float32), None, **how)
    return as_onnx("Resize", x, None, None, np.asarray([*x.shape[:2], *sizes]), **how)
