"""Matrix products, reductions and normalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import (
    HIGHEST,
    OPERATORS,
    Untranslatable,
    Value,
    axis_of,
    known,
    operator,
    xp,
)
from advbench.onnx.operators.shapes import setting


@operator("MatMul")
def _matmul(_node: OnnxNode, a: Value, b: Value) -> Value:
    return np.matmul(a, b) if known(a, b) else jnp.matmul(a, b, precision=HIGHEST)


@operator("Gemm")
def _gemm(node: OnnxNode, a: Value, b: Value, c: Value = None) -> Value:
    a, b = (v.T if node.attributes.get(key) else v for key, v in (("transA", a), ("transB", b)))
    product = node.attributes.get("alpha", 1.0) * jnp.matmul(a, b, precision=HIGHEST)
    return product if c is None else product + node.attributes.get("beta", 1.0) * c


@operator("Einsum")
def _einsum(node: OnnxNode, *parts: Value) -> Value:
    return jnp.einsum(node.attributes["equation"], *parts, precision=HIGHEST)


def _reduction(name: str, compute: Callable[..., Value]) -> None:
    def run(node: OnnxNode, x: Value, axes: Value = None) -> Value:
        """Before opset 13, all axes from `axis` on count as one."""
        along = setting(node, "axes", axes) or None
        if along is None and node.attributes.get("noop_with_empty_axes"):
            return x
        keep = bool(node.attributes.get("keepdims", 1))
        return compute(xp(x), x, axis=along, keepdims=keep).astype(x.dtype)

    OPERATORS[name] = run


_reduction("ReduceMean", lambda m, x, **along: m.mean(x, **along))
_reduction("ReduceSum", lambda m, x, **along: m.sum(x, **along))
_reduction("ReduceMax", lambda m, x, **along: m.max(x, **along))
_reduction("ReduceMin", lambda m, x, **along: m.min(x, **along))
_reduction("ReduceProd", lambda m, x, **along: m.prod(x, **along))
_reduction("ReduceL1", lambda m, x, **along: m.sum(abs(x), **along))
_reduction("ReduceL2", lambda m, x, **along: m.sqrt(m.sum(x * x, **along)))
_reduction("ReduceSumSquare", lambda m, x, **along: m.sum(x * x, **along))
_reduction("ReduceLogSum", lambda m, x, **along: m.log(m.sum(x, **along)))
_reduction("ReduceLogSumExp", lambda _, x, **along: jax.nn.logsumexp(x, **along))


def _normalised_exponentials(name: str, compute: Callable[..., Value]) -> None:
    def run(node: OnnxNode, x: Value) -> Value:
        """Before opset 13 all axes from `axis` on count as one."""
        if node.opset >= 13:
            return compute(x, axis=node.attributes.get("axis", -1))
        axis = axis_of(node.attributes.get("axis", 1), x.ndim)
        return compute(x, axis=tuple(range(axis, x.ndim)))

    OPERATORS[name] = run


_normalised_exponentials("Softmax", jax.nn.softmax)
_normalised_exponentials("LogSoftmax", jax.nn.log_softmax)


@operator("BatchNormalization")
def _batch_norm(node: OnnxNode, x: Value, scale: Value, shift: Value, mean: Value, variance: Value) -> Value:
    """Normalise by channel; by statistics of `x` itself, which training mode asks for, only if `x` is made of weights.

    PyTorch standardises the kernels of normaliser-free networks that way.
    """
    learns = node.attributes.get("training_mode") or (node.opset < 14 and len([*filter(None, node.outputs)]) > 1)
    if (learns and not node.fixed) or not node.attributes.get("spatial", 1):
        raise Untranslatable("batch norm is in training mode: export the model in evaluation mode (model.eval())")
    scale, shift, mean, variance = (_by_channel(v, x.ndim) for v in (scale, shift, mean, variance))
    if learns:
        return _standardised(x, (0, *range(2, x.ndim)), node) * scale + shift
    return (x - mean) * (scale * jax.lax.rsqrt(variance + node.attributes.get("epsilon", 1e-5))) + shift


@operator("LayerNormalization")
def _layer_norm(node: OnnxNode, x: Value, scale: Value, shift: Value = None) -> Value:
    axes = tuple(range(axis_of(node.attributes.get("axis", -1), x.ndim), x.ndim))
    y = _standardised(x, axes, node) * scale
    return y if shift is None else y + shift


@operator("RMSNormalization")
def _rms_norm(node: OnnxNode, x: Value, scale: Value) -> Value:
    """Normalise by the root mean square, in float32 unless the input has 64 bits."""
    axes = tuple(range(axis_of(node.attributes.get("axis", -1), x.ndim), x.ndim))
    if node.attributes.get("stash_type", 1) != 1:
        raise Untranslatable("only stash_type 1 (float32) is supported")
    wide = x.astype(jnp.float32)
    y = wide * jax.lax.rsqrt((wide * wide).mean(axes, keepdims=True) + node.attributes.get("epsilon", 1e-5))
    return y.astype(x.dtype) * scale


@operator("MeanVarianceNormalization")
def _mean_variance_norm(node: OnnxNode, x: Value) -> Value:
    axes = tuple(node.attributes.get("axes", (0, 2, 3)))
    if 0 in axes:
        raise Untranslatable("the mean is over all images of a batch, which makes each depend on the others")
    x = x - x.mean(axes, keepdims=True)
    return x / (jnp.sqrt((x * x).mean(axes, keepdims=True)) + 1e-9)


@operator("InstanceNormalization")
def _instance_norm(node: OnnxNode, x: Value, scale: Value, shift: Value) -> Value:
    y = _standardised(x, tuple(range(2, x.ndim)), node)
    return y * _by_channel(scale, x.ndim) + _by_channel(shift, x.ndim)


@operator("GroupNormalization")
def _group_norm(node: OnnxNode, x: Value, scale: Value, shift: Value) -> Value:
    """Normalise by group; before opset 21, scale and shift are by group too."""
    groups = node.attributes["num_groups"]
    grouped = x.reshape(x.shape[0], groups, -1)
    y = _standardised(grouped, (2,), node).reshape(x.shape)
    if node.opset < 21:
        scale, shift = (jnp.repeat(v, x.shape[1] // groups) for v in (scale, shift))
    return y * _by_channel(scale, x.ndim) + _by_channel(shift, x.ndim)


@operator("LRN")
def _local_response(node: OnnxNode, x: Value) -> Value:
    size, beta = node.attributes["size"], node.attributes.get("beta", 0.75)
    if not 0 < size <= 1024:
        raise Untranslatable(f"a window of {size} channels is not supported")
    low = (size - 1) // 2
    around = jnp.pad(x * x, [(0, 0), (low, size - 1 - low)] + [(0, 0)] * (x.ndim - 2))
    squares = sum(around[:, at : at + x.shape[1]] for at in range(size))
    return x / (node.attributes.get("bias", 1.0) + node.attributes.get("alpha", 1e-4) / size * squares) ** beta


@operator("LpNormalization")
def _lp_norm(node: OnnxNode, x: Value) -> Value:
    axis = node.attributes.get("axis", -1)
    size = jnp.sqrt(jnp.sum(x * x, axis, keepdims=True))
    if node.attributes.get("p", 2) == 1:
        size = jnp.sum(abs(x), axis, keepdims=True)
    return jnp.where(size == 0, 0, x / jnp.where(size == 0, 1, size))


def _standardised(x: Value, axes: tuple[int, ...], node: OnnxNode) -> Value:
    x = x - x.mean(axes, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(axes, keepdims=True) + node.attributes.get("epsilon", 1e-5))


def _by_channel(v: Value, rank: int) -> Any:
    return jnp.asarray(v).reshape(-1, *(1,) * (rank - 2))
