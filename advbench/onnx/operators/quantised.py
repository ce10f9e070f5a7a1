"""Quantised numbers: weights exactly, activations with a straight-through gradient.

A number that depends on pixels keeps a float type, though its values are whole: no gradient passes through integers.
Rounding has gradient 1 (Bengio et al. 2013, arXiv 1308.3432), and clipping at the ends of the range 0.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import HIGHEST, OPERATORS, Untranslatable, Value, axis_of, known, operator

ROUNDING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"})
"""Operators whose exact gradient is 0 nearly everywhere."""

BATCHED = frozenset({"DynamicQuantizeLinear"})
"""Operators that mix the images of a batch, so that each is run alone."""


def _limits(zero: Value, node: OnnxNode) -> tuple[int, int, Any]:
    """Return least and greatest number of the quantised type, and the type."""
    from onnx import helper

    kind = np.dtype(np.uint8)
    if zero is not None:
        kind = np.dtype(zero.dtype)
    elif wanted := node.attributes.get("output_dtype"):
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(wanted))
    for signed, name in ((0, "uint"), (1, "int")):
        for bits in (4, 8, 16, 32):
            if kind.name == f"{name}{bits}":
                return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, kind) if signed else (0, 2**bits - 1, kind)
    raise Untranslatable(f"quantising to {kind.name} is not supported")


def _plain(value: Value) -> Value:
    """Convert whole numbers to floats, to compute with them."""
    if value.dtype.name.startswith(("float8", "float4")):
        raise Untranslatable(f"{value.dtype.name} is not supported")
    return value.astype(np.float32)


def _along(node: OnnxNode, value: Value, x: Value) -> Value:
    """Align a scale or zero point with `x`: one for all, one for each index of an axis, or one for each block of it."""
    if value is None or value.size == 1:
        return value if value is None else value.reshape(())
    axis = axis_of(node.attributes.get("axis", 1), x.ndim)
    if block := node.attributes.get("block_size", 0):
        module = np if known(value) else jnp
        return module.repeat(value, block, axis)[tuple(slice(0, n) for n in x.shape)]
    if value.ndim != 1 or value.size != x.shape[axis]:
        raise Untranslatable(f"scales of shape {list(value.shape)} for axis {axis} of {list(x.shape)}")
    return value.reshape(-1, *(1,) * (x.ndim - 1 - axis))


@operator("QuantizeLinear")
def _quantize(node: OnnxNode, x: Value, scale: Value, zero: Value = None) -> Value:
    low, high, kind = _limits(zero, node)
    shift = 0 if zero is None else _plain(_along(node, zero, x))
    steps = x.astype(np.float32) / _along(node, scale, x).astype(np.float32)
    if known(x, scale, zero):
        return np.clip(np.round(steps) + shift, low, high).astype(kind)
    if zero is not None and not known(zero):
        raise Untranslatable("the zero point depends on the pixels")
    return _within(steps, shift, low, high)


def _within(steps: Value, shift: Value, low: int, high: int) -> Value:
    """Round to the nearest whole number, ties to even; shift; and clip to the range."""
    return jnp.clip(steps + lax.stop_gradient(jnp.round(steps) - steps) + shift, low, high)


@operator("DequantizeLinear")
def _dequantize(node: OnnxNode, x: Value, scale: Value, zero: Value = None) -> Value:
    number = _plain(x)
    if zero is not None:
        number = number - _plain(_along(node, zero, x))
    return (number * _along(node, scale, x).astype(np.float32)).astype(scale.dtype)


@operator("DynamicQuantizeLinear")
def _dynamic(_node: OnnxNode, x: Value) -> tuple[Value, Value, Value]:
    """Quantise with scale and zero point of the image itself; gradients ignore that."""
    low, high = jnp.minimum(x.min(), 0), jnp.maximum(x.max(), 0)
    scale = lax.stop_gradient((high - low) / 255)
    scale = jnp.where(scale == 0, 1, scale)
    zero = jnp.clip(jnp.round(lax.stop_gradient(-low) / scale), 0, 255)
    return _within(x / scale, zero, 0, 255), scale, zero


def _product(name: str) -> Any:
    """Make an operator on floats of one on whole numbers; sums are exact as far as float32 is."""
    compute = OPERATORS[name]

    def run(node: OnnxNode, a: Value, b: Value) -> Value:
        plain = OnnxNode(name, node.name, node.inputs, node.outputs, node.attributes, node.opset)
        return compute(plain, jnp.asarray(a), jnp.asarray(b))

    return run


def _centred(x: Value, zero: Value, axis: int | None = None) -> Value:
    """Subtract the zero point, which may differ by row or output channel."""
    if zero is None:
        return _plain(x)
    zero = _plain(zero)
    if zero.size > 1 and axis is not None and zero.ndim == 1:
        zero = zero.reshape(-1, *(1,) * (x.ndim - 1 - axis_of(axis, x.ndim)))
    return _plain(x) - (zero.reshape(()) if zero.size == 1 else zero)


@operator("QLinearConv")
def _conv(
    node: OnnxNode,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    w: Value,
    w_scale: Value,
    w_zero: Value,
    y_scale: Value,
    y_zero: Value,
    bias: Value = None,
) -> Value:
    low, high, _ = _limits(y_zero, node)
    total = _product("Conv")(node, _centred(x, x_zero), _centred(w, w_zero, 0))
    channels = (-1, *(1,) * (x.ndim - 2))
    if bias is not None:
        total = total + _plain(bias).reshape(channels)
    scale = (x_scale * w_scale / y_scale).astype(np.float32)
    return _within(total * scale.reshape(channels if scale.size > 1 else ()), _plain(y_zero), low, high)


@operator("QLinearMatMul")
def _matmul(
    node: OnnxNode,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    y_scale: Value,
    y_zero: Value,
) -> Value:
    if any(v.size > 1 for v in (a_scale, a_zero, y_scale, y_zero)):
        raise Untranslatable("scales by row are not supported")
    low, high, _ = _limits(y_zero, node)
    total = jnp.matmul(_centred(a, a_zero), _centred(b, b_zero), precision=HIGHEST)
    scale = (a_scale.reshape(()) * b_scale / y_scale.reshape(())).astype(np.float32)
    return _within(total * (scale.reshape(()) if scale.size == 1 else scale), _plain(y_zero).reshape(()), low, high)


@operator("ConvInteger")
def _conv_integer(node: OnnxNode, x: Value, w: Value, x_zero: Value = None, w_zero: Value = None) -> Value:
    return _product("Conv")(node, _centred(x, x_zero), _centred(w, w_zero, 0))


@operator("MatMulInteger")
def _matmul_integer(_node: OnnxNode, a: Value, b: Value, a_zero: Value = None, b_zero: Value = None) -> Value:
    return jnp.matmul(_centred(a, a_zero, -2), _centred(b, b_zero), precision=HIGHEST)
