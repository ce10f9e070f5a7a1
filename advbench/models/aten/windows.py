"""Core ATen operators on windows of pixels: convolution, pooling, resizing; most are what ONNX has too.

Of tied pixels of a pooling window the first has the gradient, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from advbench.models.aten.table import Value, as_onnx, entered


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
    how = _windows(sides, strides, pads, ceil)
    return as_onnx("MaxPool", x, **how, dilations=_two(dilations)), None


@entered("avg_pool2d")
def _avg_pool(
    x: Value,
    sides: Sequence[int],
    strides: Sequence[int] = (),
    pads: Sequence[int] = (0,),
    ceil: bool = False,
    include: bool = True,
    divisor: int | None = None,
) -> Value:
    y = as_onnx("AveragePool", x, **_windows(sides, strides, pads, ceil), count_include_pad=include or divisor)
    return y * math.prod(_two(sides)) / divisor if divisor else y


def _windows(sides: Sequence[int], strides: Sequence[int], pads: Sequence[int], ceil: bool) -> dict[str, Any]:
    return {
        "kernel_shape": _two(sides),
        "strides": _two(strides or sides),
        "pads": _two(pads) * 2,
        "ceil_mode": ceil,
    }


def _two(values: Sequence[int]) -> list[int]:
    return [*values] * (2 // len(values))


@entered("_adaptive_avg_pool2d", "adaptive_avg_pool2d")
def _adaptive_avg_pool(x: Value, sizes: Sequence[int]) -> Value:
    """By a matrix for each axis: windows begin and end where whole pixels do."""
    for axis, after in zip((2, 3), sizes, strict=True):
        before = x.shape[axis]
        at = np.arange(after)
        low, high = at * before // after, -(-(at + 1) * before // after)
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
