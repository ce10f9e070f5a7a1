"""Operators that read and write elements at computed indices."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import Untranslatable, Value, axis_of, ints, known, operator, sized, xp

JOINS = {"add": "add", "mul": "multiply", "max": "max", "min": "min"}
"""Methods of JAX that combine the numbers written with those in place, by reduction."""
UFUNCS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _written(node: OnnxNode, x: Value, places: tuple[Any, ...], updates: Value) -> Value:
    """Return a copy of `x` with `updates` written at `places`."""
    how = node.attributes.get("reduction", "none")
    if how not in ("none", *JOINS):
        raise Untranslatable(f"there is no reduction {how!r}")
    if known(x, updates, *places):
        new = x.copy()
        if how == "none":
            new[places] = updates
        else:
            UFUNCS[how].at(new, places, updates)
        return new
    at = jnp.asarray(x).at[places]
    return at.set(updates) if how == "none" else getattr(at, JOINS[how])(updates)


def _within(indices: Value, sides: tuple[int, ...]) -> None:
    """Refuse known indices that are out of range; JAX would ignore them."""
    if not known(indices) or not indices.size:
        return
    flat = indices.reshape(-1, len(sides))
    if (flat < -np.array(sides)).any() or (flat >= np.array(sides)).any():
        raise Untranslatable(f"an index is out of {list(sides)}")


@operator("ScatterND")
def _scatter_rows(node: OnnxNode, x: Value, indices: Value, updates: Value) -> Value:
    """Write parts of `x`; each row of the last axis of `indices` is the index of one part, in the first axes."""
    _within(indices, x.shape[: indices.shape[-1]])
    return _written(node, x, tuple(xp(indices).moveaxis(indices, -1, 0)), updates)


@operator("ScatterElements", "Scatter")
def _scatter_elements(node: OnnxNode, x: Value, indices: Value, updates: Value) -> Value:
    """Write each number at its own place in `indices`, except along one axis, where the index is given."""
    axis = axis_of(node.attributes.get("axis", 0), x.ndim)
    _within(indices, (x.shape[axis],))
    places: list[Any] = list(np.ix_(*map(np.arange, indices.shape)))
    places[axis] = indices
    return _written(node, x, tuple(places), updates)


@operator("GatherND")
def _gather_rows(node: OnnxNode, x: Value, indices: Value) -> Value:
    """Read parts of `x`; each row of the last axis of `indices` is an index, behind `batch_dims` common axes."""
    shared = node.attributes.get("batch_dims", 0)
    _within(indices, x.shape[shared : shared + indices.shape[-1]])
    parts = tuple(xp(indices).moveaxis(indices, -1, 0))
    grid = np.ix_(*map(np.arange, indices.shape[:shared])) if shared else ()
    more = (1,) * (indices.ndim - 1 - shared)
    return xp(x, indices).asarray(x)[(*(axis.reshape(*axis.shape, *more) for axis in grid), *parts)]


@operator("NonZero")
def _non_zero(_node: OnnxNode, x: Value) -> Value:
    if not known(x):
        raise Untranslatable("how many numbers are not 0 depends on the pixels or on weights")
    return np.stack(np.nonzero(np.atleast_1d(x))).astype(np.int64)


@operator("Compress")
def _compress(node: OnnxNode, x: Value, condition: Value) -> Value:
    """Select by a condition along an axis; without an axis, from `x` as one row."""
    if not known(condition):
        raise Untranslatable("how much is kept depends on the pixels or on weights")
    (kept,) = np.nonzero(condition)
    axis = node.attributes.get("axis")
    return xp(x).take(x.ravel() if axis is None else x, kept, 0 if axis is None else axis_of(axis, x.ndim))


@operator("EyeLike")
def _eye(node: OnnxNode, x: Value) -> Value:
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(node.attributes["dtype"]) if "dtype" in node.attributes else x.dtype
    rows, columns = sized(x.shape)
    return np.eye(rows, columns, node.attributes.get("k", 0), dtype=kind)


@operator("ReverseSequence")
def _reverse(node: OnnxNode, x: Value, lengths: Value) -> Value:
    """Reverse the first elements along the time axis, in each row as many as its length."""
    along, rows = node.attributes.get("time_axis", 0), node.attributes.get("batch_axis", 1)
    if {along, rows} != {0, 1}:
        raise Untranslatable(f"time on axis {along} and rows on axis {rows}")
    steps, ends = np.arange(x.shape[along])[:, None], np.array(ints(lengths))
    order = np.where(steps < ends, ends - 1 - steps, steps)
    order = (order if along == 0 else order.T).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
    return xp(x).take_along_axis(x, order, along)
