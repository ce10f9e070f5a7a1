"""Recurrent layers, which read an image row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import HIGHEST, Untranslatable, Value, ints, operator

ACTIVATIONS = {"Relu": jax.nn.relu, "Sigmoid": jax.nn.sigmoid, "Tanh": jnp.tanh}
State = tuple[Array, ...]
Step = Callable[[State, Array], tuple[State, Array]]
Cell = Callable[[Any, Any, Any], Step]
"""From input weights, recurrent weights and biases of one direction to what happens at one time."""


def _dot(x: Any, w: Any) -> Array:
    """Multiply by the transpose."""
    return jnp.matmul(x, jnp.asarray(w).T, precision=HIGHEST)


def _run(
    node: OnnxNode, arrays: Sequence[Value], starts: Sequence[Value], lengths: Value, cell: Cell
) -> tuple[Value, ...]:
    """Run all times in each direction: outputs `[L, D, N, H]`, and the parts of the last state, `[D, N, H]` each."""
    x, *weights = map(jnp.asarray, arrays)
    settings = node.attributes
    if "clip" in settings:
        raise Untranslatable("clipped sums are not supported")
    rows = bool(settings.get("layout"))
    x = x.swapaxes(0, 1) if rows else x
    if lengths is not None and set(ints(lengths)) != {len(x)}:
        raise Untranslatable("rows of several lengths are not supported")
    way = settings.get("direction", "forward")
    turned = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[way]
    hidden = weights[1].shape[-1]
    zeros = jnp.zeros((x.shape[1], hidden), x.dtype)
    outputs, last = [], []
    for at, backwards in enumerate(turned):
        first = [
            zeros if start is None else (jnp.asarray(start)[:, at] if rows else jnp.asarray(start)[at])
            for start in starts
        ]
        end, y = jax.lax.scan(cell(*(w[at] for w in weights)), tuple(first), x, reverse=backwards)
        outputs.append(y)
        last.append(end)
    y = jnp.stack(outputs, 2 if rows else 1)  # [L, D, N, H], or [L, N, D, H]
    axis = 1 if rows else 0
    return (y.swapaxes(0, 1) if rows else y, *(jnp.stack(part, axis) for part in zip(*last, strict=True)))


def _activation(node: OnnxNode, usual: Sequence[str]) -> list[Callable[[Array], Array]]:
    """Return the activations of one direction, which must be the same in all directions."""
    names = node.attributes.get("activations") or list(usual)
    names = [name.decode() if isinstance(name, bytes) else name for name in names]
    parts = [names[at : at + len(usual)] for at in range(0, len(names), len(usual))]
    if any(part != parts[0] for part in parts) or not set(names) <= set(ACTIVATIONS):
        raise Untranslatable(f"activations {', '.join(names)} are not supported")
    return [ACTIVATIONS[name] for name in parts[0]]


def _biases(weights: Value, biases: Value) -> Value:
    """Return biases `[D, 2 * gates * H]`; 0 if there are none."""
    return jnp.zeros((weights.shape[0], 2 * weights.shape[1]), weights.dtype) if biases is None else biases


@operator("RNN")
def _rnn(
    node: OnnxNode, x: Value, w: Value, r: Value, b: Value = None, lengths: Value = None, h: Value = None
) -> tuple[Value, ...]:
    (act,) = _activation(node, ("Tanh",))

    def cell(w: Any, r: Any, b: Any) -> Step:
        bias = sum(jnp.split(b, 2))

        def step(state: State, x: Array) -> tuple[State, Array]:
            y = act(_dot(x, w) + _dot(state[0], r) + bias)
            return (y,), y

        return step

    return _run(node, (x, w, r, _biases(w, b)), (h,), lengths, cell)


@operator("GRU")
def _gru(
    node: OnnxNode, x: Value, w: Value, r: Value, b: Value = None, lengths: Value = None, h: Value = None
) -> tuple[Value, ...]:
    """GRU, with gates in the order update, reset, hidden; PyTorch resets after the product (`linear_before_reset`)."""
    gate, act = _activation(node, ("Sigmoid", "Tanh"))
    after = bool(node.attributes.get("linear_before_reset"))

    def cell(w: Any, r: Any, b: Any) -> Step:
        below, beside = jnp.split(b, 2)
        *gates, last = jnp.split(jnp.asarray(r), 3)

        def step(state: State, x: Array) -> tuple[State, Array]:
            (h,) = state
            update, reset, new = jnp.split(_dot(x, w) + below, 3, -1)
            from_update, from_reset, from_new = jnp.split(beside, 3)
            z = gate(update + _dot(h, gates[0]) + from_update)
            k = gate(reset + _dot(h, gates[1]) + from_reset)
            past = k * (_dot(h, last) + from_new) if after else _dot(k * h, last) + from_new
            y = (1 - z) * act(new + past) + z * h
            return (y,), y

        return step

    return _run(node, (x, w, r, _biases(w, b)), (h,), lengths, cell)


@operator("LSTM")
def _lstm(
    node: OnnxNode,
    x: Value,
    w: Value,
    r: Value,
    b: Value = None,
    lengths: Value = None,
    h: Value = None,
    c: Value = None,
    peepholes: Value = None,
) -> tuple[Value, ...]:
    """LSTM, with gates in the order input, output, forget, cell."""
    if peepholes is not None or node.attributes.get("input_forget"):
        raise Untranslatable("peepholes and joined gates are not supported")
    gate, act, squash = _activation(node, ("Sigmoid", "Tanh", "Tanh"))

    def cell(w: Any, r: Any, b: Any) -> Step:
        bias = sum(jnp.split(b, 2))

        def step(state: State, x: Array) -> tuple[State, Array]:
            h, c = state
            i, o, f, new = jnp.split(_dot(x, w) + _dot(h, r) + bias, 4, -1)
            c = gate(f) * c + gate(i) * act(new)
            h = gate(o) * squash(c)
            return (h, c), h

        return step

    return _run(node, (x, w, r, _biases(w, b)), (h, c), lengths, cell)
