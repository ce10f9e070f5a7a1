"""Elementwise operators."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import (
    OPERATORS,
    Untranslatable,
    Value,
    known,
    operator,
    sized,
    xp,
)

NUMPY = {
    "Abs": "abs",
    "Acos": "arccos",
    "Acosh": "arccosh",
    "Add": "add",
    "And": "logical_and",
    "Asin": "arcsin",
    "Asinh": "arcsinh",
    "Atan": "arctan",
    "Atanh": "arctanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Equal": "equal",
    "Exp": "exp",
    "Floor": "floor",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "IsInf": "isinf",
    "IsNaN": "isnan",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Log": "log",
    "Max": "maximum",
    "Min": "minimum",
    "Mul": "multiply",
    "Neg": "negative",
    "Not": "logical_not",
    "Or": "logical_or",
    "Reciprocal": "reciprocal",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Sub": "subtract",
    "Sum": "add",
    "Tan": "tan",
    "Tanh": "tanh",
    "Where": "where",
    "Xor": "logical_xor",
}
"""Operators that NumPy has too. A function of two operands is applied repeatedly to more inputs."""

JAX = {
    "Erf": jax.lax.erf,
    "Identity": lambda x: x,
    "Mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    "Relu": lambda x: np.maximum(x, 0) if known(x) else jax.nn.relu(x),
    "Sigmoid": jax.nn.sigmoid,
    "Softplus": jax.nn.softplus,
    "Softsign": jax.nn.soft_sign,
}
VARIADIC = ("Max", "Min", "Sum")


def _enter(name: str, function: str) -> None:
    def run(_node: OnnxNode, *values: Value) -> Value:
        compute = getattr(_module(*values), function)
        return reduce(compute, values) if name in VARIADIC else compute(*values)

    OPERATORS[name] = run


def _enter_jax(name: str, function: Callable[[Value], Value]) -> None:
    OPERATORS[name] = lambda _node, x: function(x)


for _name, _function in NUMPY.items():
    _enter(_name, _function)
for _name, _compute in JAX.items():
    _enter_jax(_name, _compute)


def _module(*values: Value) -> Any:
    """Return NumPy or JAX, after a check that a known result is not too large."""
    if known(*values):
        sized(np.broadcast_shapes(*(value.shape for value in values)))
    return xp(*values)


@operator("Div")
def _div(_node: OnnxNode, a: Value, b: Value) -> Value:
    """Divide; whole numbers are rounded towards zero."""
    module = _module(a, b)
    if a.dtype.kind == "f" or not np.issubdtype(a.dtype, np.integer):
        return module.true_divide(a, b).astype(a.dtype)
    if known(b) and not np.all(b):
        raise Untranslatable("a whole number is divided by zero")
    return (module.sign(a) * module.sign(b) * (abs(a) // abs(b))).astype(a.dtype)


@operator("Mod")
def _mod(node: OnnxNode, a: Value, b: Value) -> Value:
    if known(b) and np.issubdtype(b.dtype, np.integer) and not np.all(b):
        raise Untranslatable("a whole number is divided by zero")
    return (_module(a, b).fmod if node.attributes.get("fmod") else _module(a, b).mod)(a, b)


@operator("Pow")
def _pow(_node: OnnxNode, x: Value, y: Value) -> Value:
    """Raise to a power; a known whole power is a product, whose gradient is finite at 0."""
    if known(y) and not known(x) and y.size == 1 and y.ndim <= x.ndim and float(y) == round(float(y)) and abs(y) <= 64:
        return jax.lax.integer_pow(x, int(y.item()))
    return _module(x, y).power(x, y).astype(x.dtype)


@operator("PRelu")
def _prelu(_node: OnnxNode, x: Value, input_gradient: Value) -> Value:
    return jnp.where(x > 0, x, input_gradient * x)


@operator("HardSwish")
def _hard_swish(_node: OnnxNode, x: Value) -> Value:
    return x * _between(x / 6 + 0.5, 0, 1)


@operator("Clip")
def _clip(node: OnnxNode, x: Value, low: Value = None, high: Value = None) -> Value:
    low = node.attributes.get("min") if low is None else low
    high = node.attributes.get("max") if high is None else high
    return _between(x, low, high)


def _between(x: Value, low: Any, high: Any) -> Value:
    """Clip; at the bounds themselves the gradient is 0, as for ReLU and PyTorch's ReLU6."""
    module = xp(x, *(bound for bound in (low, high) if hasattr(bound, "dtype")))
    if low is not None:
        x = module.where(x <= low, module.asarray(low, x.dtype), x)
    if high is not None:
        x = module.where(x >= high, module.asarray(high, x.dtype), x)
    return x


@operator("Cast")
def _cast(node: OnnxNode, x: Value) -> Value:
    from onnx import helper

    try:
        return _to(x, helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    except KeyError:
        raise Untranslatable(f"there is no type {node.attributes.get('to')}") from None


@operator("CastLike")
def _cast_like(_node: OnnxNode, x: Value, like: Value) -> Value:
    return _to(x, like.dtype)


def _to(x: Value, dtype: Any) -> Value:
    """Convert to a type; known whole numbers keep 64 bits, other types are those that JAX has."""
    if dtype.kind in "OSU":
        raise Untranslatable("text is not supported")
    if known(x) and dtype != np.float64:
        return x.astype(dtype)
    return x.astype(jax.dtypes.canonicalize_dtype(dtype))


@operator("Elu")
def _elu(node: OnnxNode, x: Value) -> Value:
    return jax.nn.elu(x, node.attributes.get("alpha", 1.0))


@operator("Celu")
def _celu(node: OnnxNode, x: Value) -> Value:
    return jax.nn.celu(x, node.attributes.get("alpha", 1.0))


@operator("Selu")
def _selu(node: OnnxNode, x: Value) -> Value:
    alpha = node.attributes.get("alpha", 1.67326319217681884765625)
    return node.attributes.get("gamma", 1.05070102214813232421875) * jax.nn.elu(x, alpha)


@operator("LeakyRelu")
def _leaky_relu(node: OnnxNode, x: Value) -> Value:
    return jnp.where(x > 0, x, node.attributes.get("alpha", 0.01) * x)


@operator("ThresholdedRelu")
def _thresholded_relu(node: OnnxNode, x: Value) -> Value:
    return jnp.where(x > node.attributes.get("alpha", 1.0), x, 0)


@operator("HardSigmoid")
def _hard_sigmoid(node: OnnxNode, x: Value) -> Value:
    return _between(node.attributes.get("alpha", 0.2) * x + node.attributes.get("beta", 0.5), 0, 1)


@operator("Gelu")
def _gelu(node: OnnxNode, x: Value) -> Value:
    return jax.nn.gelu(x, approximate=node.attributes.get("approximate", "none") == "tanh")


@operator("Swish")
def _swish(node: OnnxNode, x: Value) -> Value:
    return x * jax.nn.sigmoid(node.attributes.get("alpha", 1.0) * x)


@operator("Shrink")
def _shrink(node: OnnxNode, x: Value) -> Value:
    edge, bias = node.attributes.get("lambd", 0.5), node.attributes.get("bias", 0.0)
    return jnp.where(x < -edge, x + bias, jnp.where(x > edge, x - bias, 0)).astype(x.dtype)


@operator("Mean")
def _mean(_node: OnnxNode, *values: Value) -> Value:
    return (reduce(_module(*values).add, values) / len(values)).astype(values[0].dtype)


@operator("Dropout")
def _dropout(_node: OnnxNode, x: Value, _ratio: Value = None, training: Value = None) -> Value:
    if training is not None and (not known(training) or bool(training)):
        raise Untranslatable("dropout is on: export the model in evaluation mode (model.eval())")
    return x
