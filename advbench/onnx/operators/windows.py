"""Convolution and pooling. Arrays are [N, C, ...] here, as ONNX has them."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from advbench.nn import rewrite
from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import (
    HIGHEST,
    Untranslatable,
    Value,
    ints,
    operator,
)
from advbench.onnx.operators.sliding import Windows, first_largest


@operator("Conv")
def _conv(node: OnnxNode, x: Value, kernel: Value, bias: Value = None) -> Value:
    """Convolve by JAX; `advbench.nn.rewrite`, applied to the whole graph, replaces it by a faster operator on CPU."""
    windows = Windows.of(node, x, kernel.shape[2:])
    y = lax.conv_general_dilated(
        x,
        jnp.asarray(kernel),
        windows.strides,
        windows.pads,
        rhs_dilation=windows.dilations,
        feature_group_count=node.attributes.get("group", 1),
        precision=HIGHEST,
    )
    return y if bias is None else y + jnp.asarray(bias).reshape(-1, *(1,) * (x.ndim - 2))


@operator("ConvTranspose")
def _conv_transpose(node: OnnxNode, x: Value, kernel: Value, bias: Value = None) -> Value:
    """Transpose a convolution: spread the pixels by the strides, then convolve with the flipped kernel."""
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        raise Untranslatable("only explicit padding is supported")
    rank, groups = x.ndim - 2, node.attributes.get("group", 1)
    windows = Windows.of(node, x, kernel.shape[2:])
    more = node.attributes.get("output_padding", [0] * rank)
    spans = [(side - 1) * d for side, d in zip(windows.sides, windows.dilations, strict=True)]
    around = [(span - low, span - high + out) for span, (low, high), out in zip(spans, windows.pads, more, strict=True)]
    kernel = jnp.flip(kernel, range(2, x.ndim)).reshape(groups, -1, *kernel.shape[1:]).swapaxes(1, 2)
    y = lax.conv_general_dilated(
        x,
        kernel.reshape(-1, *kernel.shape[2:]),
        (1,) * rank,
        around,
        lhs_dilation=windows.strides,
        rhs_dilation=windows.dilations,
        feature_group_count=groups,
        precision=HIGHEST,
    )
    return y if bias is None else y + jnp.asarray(bias).reshape(-1, *(1,) * rank)


@operator("MaxPool")
def _max_pool(node: OnnxNode, x: Value) -> Value:
    """Take the largest pixel; of tied ones the first in row-major order gets the gradient, as in PyTorch."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise Untranslatable(f"the largest of {x.dtype} is not supported")

    def later(a: Value, b: Value) -> Value:
        return jnp.where((b > a) | jnp.isnan(b), b, a)

    windows = Windows.of(node, x, node.attributes["kernel_shape"])
    if rewrite.enabled() and windows.is_small() and set(windows.dilations) == {1}:
        return windows.reduced(x, -math.inf, lax.max)  # which is rewritten
    return windows.pooled(x, -math.inf, later, lax.max)


@operator("AveragePool")
def _average_pool(node: OnnxNode, x: Value) -> Value:
    """Average; padding counts if `count_include_pad` says so, and the padding of `ceil_mode` never does."""
    windows = Windows.of(node, x, node.attributes["kernel_shape"])
    ones = jnp.ones((1, 1, *x.shape[2:]), x.dtype)
    total = windows.pooled(x, 0, jnp.add, lax.add)
    if node.attributes.get("count_include_pad"):
        ones = jnp.pad(ones, [(0, 0), (0, 0), *windows.pads], constant_values=1)
        unpadded = Windows(
            windows.sides, windows.strides, windows.dilations, ((0, 0),) * len(windows.sides), windows.beyond
        )
        return total / unpadded.pooled(ones, 0, jnp.add, lax.add)
    return total / windows.pooled(ones, 0, jnp.add, lax.add)


@operator("LpPool")
def _lp_pool(node: OnnxNode, x: Value) -> Value:
    windows = Windows.of(node, x, node.attributes["kernel_shape"])
    return _lp(node, x, lambda powers: windows.pooled(powers, 0, jnp.add, lax.add))


@operator("GlobalLpPool")
def _global_lp_pool(node: OnnxNode, x: Value) -> Value:
    return _lp(node, x, lambda powers: powers.sum(tuple(range(2, x.ndim)), keepdims=True))


def _lp(node: OnnxNode, x: Value, total: Callable[[Value], Value]) -> Value:
    """Compute the p-norm from sums; its gradient is 0 where the norm is 0."""
    p = node.attributes.get("p", 2)
    powers = total(lax.integer_pow(jnp.abs(x), p))
    return jnp.where(powers > 0, jnp.where(powers > 0, powers, 1) ** (1 / p), 0)


@operator("Col2Im")
def _columns_to_image(node: OnnxNode, x: Value, size: Value, block: Value) -> Value:
    """Add up blocks `[N, C * block, L]` at their places in an image `[N, C, ...]`: the transpose of unfolding."""
    sides, spans = ints(size), ints(block)
    image = jax.ShapeDtypeStruct((x.shape[0], x.shape[1] // math.prod(spans), *sides), x.dtype)
    windows = Windows.of(node, image, spans)

    def unfolded(image: Value) -> Value:
        cut = jnp.stack(list(windows.slices(image, 0)), 2)  # [N, C, block, ...]
        return cut.reshape(x.shape)

    return jax.linear_transpose(unfolded, image)(x)[0]


@operator("GlobalAveragePool")
def _global_average_pool(_node: OnnxNode, x: Value) -> Value:
    return x.mean(tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def _global_max_pool(_node: OnnxNode, x: Value) -> Value:
    return first_largest(jnp.asarray(x))
