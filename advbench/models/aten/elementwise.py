"""Core ATen operators on each value by itself, products, normalisation and attention.

Slopes at kinks are PyTorch's: 0 at both ends of `hardtanh`, 1 at those of `clamp`.
"""

from __future__ import annotations

import math
import operator as python
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from advbench.models.aten.table import HIGHEST, Value, entered


def _unary(**functions: Callable[..., Any]) -> None:
    for name, function in functions.items():
        entered(name)(lambda x, function=function, **_: function(x))


_unary(
    relu=jax.nn.relu,
    sigmoid=jax.nn.sigmoid,
    silu=jax.nn.silu,
    mish=lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    hardswish=lambda x: x * _between(x / 6 + 0.5, 0, 1),
    hardsigmoid=lambda x: _between(x / 6 + 0.5, 0, 1),
    tanh=jnp.tanh,
    exp=jnp.exp,
    expm1=jnp.expm1,
    log=jnp.log,
    log1p=jnp.log1p,
    log2=jnp.log2,
    sqrt=jnp.sqrt,
    rsqrt=lax.rsqrt,
    erf=jax.scipy.special.erf,
    abs=jnp.abs,
    neg=lambda x: -x,
    reciprocal=lambda x: 1 / x,
    sin=jnp.sin,
    cos=jnp.cos,
    atan=jnp.arctan,
    floor=jnp.floor,
    ceil=jnp.ceil,
    sign=jnp.sign,
    logical_not=jnp.logical_not,
    bitwise_not=jnp.invert,
    isnan=jnp.isnan,
    isinf=jnp.isinf,
    clone=lambda x: x,
    alias=lambda x: x,
    detach=lax.stop_gradient,
    lift_fresh_copy=lambda x: x,
    zeros_like=jnp.zeros_like,
    ones_like=jnp.ones_like,
    square=jnp.square,
)


def _binary(**functions: Callable[..., Any]) -> None:
    for name, function in functions.items():
        entered(name)(lambda a, b, function=function, **_: function(a, b))


_binary(
    mul=lambda a, b: a * b,
    eq=lambda a, b: a == b,
    ne=lambda a, b: a != b,
    gt=lambda a, b: a > b,
    ge=lambda a, b: a >= b,
    lt=lambda a, b: a < b,
    le=lambda a, b: a <= b,
    maximum=jnp.maximum,
    minimum=jnp.minimum,
    logical_and=jnp.logical_and,
    logical_or=jnp.logical_or,
    bitwise_and=jnp.bitwise_and,
    bitwise_or=jnp.bitwise_or,
    remainder=jnp.mod,
    fmod=jnp.fmod,
    atan2=jnp.arctan2,
    mm=lambda a, b: jnp.matmul(a, b, precision=HIGHEST),
    bmm=lambda a, b: jnp.matmul(a, b, precision=HIGHEST),
    mv=lambda a, b: jnp.matmul(a, b, precision=HIGHEST),
    dot=lambda a, b: jnp.matmul(a, b, precision=HIGHEST),
)
for _name in ("add", "sub", "mul", "floordiv", "mod", "neg", "getitem", "truediv", "eq", "ge", "le", "gt", "lt"):
    entered(f"python.{_name}")(getattr(python, _name))


@entered("add")
def _add(a: Value, b: Value, *, alpha: Value = 1) -> Value:
    return a + (b if alpha == 1 else alpha * b)


@entered("sub")
def _sub(a: Value, b: Value, *, alpha: Value = 1) -> Value:
    return a - (b if alpha == 1 else alpha * b)


@entered("rsub")
def _rsub(a: Value, b: Value, alpha: Value = 1) -> Value:
    return b - alpha * a


@entered("div")
def _div(a: Value, b: Value, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is None:
        return a / b
    return jnp.floor_divide(a, b) if rounding_mode == "floor" else jnp.trunc(a / b).astype(jnp.result_type(a, b))


@entered("pow")
def _pow(x: Value, y: Value) -> Value:
    """A whole power is a product, whose gradient is finite at 0."""
    if isinstance(y, int | float) and y == int(y) and abs(y) <= 64:
        return lax.integer_pow(x, int(y))
    return jnp.power(x, y)


@entered("where")
def _where(condition: Value, a: Value, b: Value) -> Value:
    return jnp.where(condition, a, b)


def _between(x: Value, low: Value, high: Value) -> Value:
    """Clip; the slope is 0 at both ends."""
    x = x if low is None else jnp.where(x <= low, jnp.asarray(low, x.dtype), x)
    return x if high is None else jnp.where(x >= high, jnp.asarray(high, x.dtype), x)


@entered("hardtanh")
def _hardtanh(x: Value, low: Value = -1.0, high: Value = 1.0) -> Value:
    return _between(x, low, high)


@entered("clamp", "clamp_min")
def _clamp(x: Value, low: Value = None, high: Value = None) -> Value:
    x = x if low is None else jnp.where(x < low, jnp.asarray(low, x.dtype), x)
    return x if high is None else jnp.where(x > high, jnp.asarray(high, x.dtype), x)


@entered("clamp_max")
def _clamp_max(x: Value, high: Value) -> Value:
    return _clamp(x, None, high)


@entered("leaky_relu")
def _leaky_relu(x: Value, input_gradient: Value = 0.01) -> Value:
    return jnp.where(x > 0, x, input_gradient * x)


@entered("prelu", "_prelu_kernel")
def _prelu(x: Value, input_gradient: Value) -> Value:
    input_gradient = (
        input_gradient.reshape(-1, *(1,) * (x.ndim - 2)) if input_gradient.ndim == 1 and x.ndim > 1 else input_gradient
    )
    return jnp.where(x > 0, x, input_gradient * x)


@entered("elu")
def _elu(x: Value, alpha: Value = 1.0, scale: Value = 1.0, inner: Value = 1.0) -> Value:
    low = jnp.where(x > 0, 0.0, x)
    return scale * jnp.where(x > 0, x, alpha * jnp.expm1(inner * low))


@entered("gelu")
def _gelu(x: Value, *, approximate: str = "none") -> Value:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


@entered("softplus")
def _softplus(x: Value, beta: Value = 1.0, threshold: Value = 20.0) -> Value:
    low = jnp.where(beta * x > threshold, 0.0, x)
    return jnp.where(beta * x > threshold, x, jax.nn.softplus(beta * low) / beta)


@entered("_softmax")
def _softmax(x: Value, dim: int, _half: bool = False) -> Value:
    return jax.nn.softmax(x, dim)


@entered("_log_softmax")
def _log_softmax(x: Value, dim: int, _half: bool = False) -> Value:
    return jax.nn.log_softmax(x, dim)


@entered("glu")
def _glu(x: Value, dim: int = -1) -> Value:
    a, b = jnp.split(x, 2, dim)
    return a * jax.nn.sigmoid(b)


@entered("addmm")
def _addmm(bias: Value, a: Value, b: Value, *, beta: Value = 1, alpha: Value = 1) -> Value:
    return beta * bias + alpha * jnp.matmul(a, b, precision=HIGHEST)


@entered("_scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_attention")
def _attention(
    q: Value, k: Value, v: Value, *more: Any, attn_mask: Value = None, scale: Value = None, **how: Any
) -> tuple[Value, None]:
    dropout, causal = ([*more, 0.0, False])[:2]
    if how.get("dropout_p", dropout) or how.get("is_causal", causal):
        raise NotImplementedError("attention with dropout, or causal")
    scores = jnp.einsum("...qd,...kd->...qk", q, k, precision=HIGHEST) * (scale or 1 / math.sqrt(q.shape[-1]))
    if attn_mask is not None:
        scores = jnp.where(attn_mask, scores, -jnp.inf) if attn_mask.dtype == bool else scores + attn_mask
    return jnp.einsum("...qk,...kd->...qd", jax.nn.softmax(scores, -1), v, precision=HIGHEST), None


@entered("_native_batch_norm_legit_no_training")
def _batch_norm(
    x: Value, weight: Value, bias: Value, mean: Value, variance: Value, _momentum: float, eps: float
) -> tuple[Value, None, None]:
    """One product and one sum, by numbers that no pixel changes."""
    scale = lax.rsqrt(variance + eps) * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - mean * scale
    sides = (-1, *(1,) * (x.ndim - 2))
    return x * scale.reshape(sides) + shift.reshape(sides), None, None


@entered("_native_batch_norm_legit.no_stats")
def _instance_norm(
    x: Value, weight: Value, bias: Value, training: bool, _momentum: float, eps: float
) -> tuple[Value, None, None]:
    """Normalise each channel by its own pixels: what PyTorch makes of instances is one image of many channels."""
    if not training or len(x) != 1:
        raise NotImplementedError("normalisation by statistics of the batch")
    sides, y = (-1, *(1,) * (x.ndim - 2)), _normal(x, tuple(range(2, x.ndim)), eps)
    y = y if weight is None else y * weight.reshape(sides)
    return y if bias is None else y + bias.reshape(sides), None, None


@entered("native_layer_norm")
def _layer_norm(x: Value, shape: Sequence[int], weight: Value, bias: Value, eps: float) -> tuple[Value, None, None]:
    y = _normal(x, tuple(range(x.ndim - len(shape), x.ndim)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, None, None


@entered("native_group_norm")
def _group_norm(
    x: Value, weight: Value, bias: Value, _n: Value, _c: int, _pixels: int, groups: int, eps: float
) -> tuple[Value, None, None]:
    y = _normal(x.reshape(len(x), groups, -1), (2,), eps).reshape(x.shape)
    sides = (-1, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(sides)
    return y if bias is None else y + bias.reshape(sides), None, None


def _normal(x: Value, axes: tuple[int, ...], eps: float) -> Value:
    centred = x - x.mean(axes, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(axes, keepdims=True) + eps)
