"""Operators that sort, or accumulate along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import Untranslatable, Value, axis_of, ints, known, operator, sized, xp


@operator("TopK")
def _top(node: OnnxNode, x: Value, k: Value = None) -> tuple[Value, Value]:
    """Return the largest (or smallest) numbers in order, and their indices; of ties the first."""
    count = ints(k)[0] if k is not None else node.attributes["k"]
    axis = axis_of(node.attributes.get("axis", -1), x.ndim)
    if not 0 <= count <= x.shape[axis]:
        raise Untranslatable(f"the {count} largest of {x.shape[axis]} don't exist")
    module, largest = xp(x), node.attributes.get("largest", 1)
    if largest:  # backwards, so that the order of ties is kept where all is turned around
        order = x.shape[axis] - 1 - module.flip(module.argsort(module.flip(x, axis), axis, stable=True), axis)
    else:
        order = module.argsort(x, axis, stable=True)
    places = module.moveaxis(module.moveaxis(order, axis, 0)[:count], 0, axis)
    return module.take_along_axis(x, places, axis), places.astype(np.int64) if known(x) else places


@operator("CumSum")
def _running_sum(node: OnnxNode, x: Value, axis: Value) -> Value:
    """Compute the cumulative sum. `exclusive`: without the number itself; `reverse`: from the end."""
    module, at = xp(x), axis_of(ints(axis)[0], x.ndim)
    x = module.flip(x, at) if node.attributes.get("reverse") else x
    total = module.cumsum(x, at).astype(x.dtype)
    if node.attributes.get("exclusive"):
        first = [slice(None)] * x.ndim
        first[at] = slice(0, -1)
        around = [(0, 0)] * x.ndim
        around[at] = (1, 0)
        total = module.pad(total[tuple(first)], around)
    return module.flip(total, at) if node.attributes.get("reverse") else total


@operator("ArgMax")
def _argmax(node: OnnxNode, x: Value) -> Any:
    return _extreme(node, x, "argmax")


@operator("ArgMin")
def _argmin(node: OnnxNode, x: Value) -> Any:
    return _extreme(node, x, "argmin")


def _extreme(node: OnnxNode, x: Value, which: str) -> Any:
    axis, keep = axis_of(node.attributes.get("axis", 0), x.ndim), bool(node.attributes.get("keepdims", 1))
    module = xp(x)
    if node.attributes.get("select_last_index"):
        return x.shape[axis] - 1 - getattr(module, which)(module.flip(x, axis), axis, keepdims=keep)
    return getattr(module, which)(x, axis, keepdims=keep)


@operator("Trilu")
def _triangle(node: OnnxNode, x: Value, k: Value = None) -> Value:
    module, offset = xp(x), 0 if k is None else ints(k)[0]
    return module.triu(x, offset) if node.attributes.get("upper", 1) else module.tril(x, offset)


@operator("OneHot")
def _one_hot(node: OnnxNode, indices: Value, depth: Value, values: Value) -> Value:
    """Make one-hot rows; negative indices count from the end, those out of range give a row of the first value."""
    (count,) = ints(depth)
    off, on = values
    axis = axis_of(node.attributes.get("axis", -1), indices.ndim + 1)
    module = xp(indices, values)
    places = module.expand_dims(indices, axis)
    numbers = np.arange(count).reshape(-1, *(1,) * (indices.ndim - axis))
    if known(indices, values):
        sized((count, indices.size))
    return module.where((places == numbers) | (places == numbers - count), on, off)
