"""Operators that move elements and compute shapes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import (
    Untranslatable,
    Value,
    axis_of,
    ints,
    known,
    operator,
    sized,
    xp,
)


def setting(node: OnnxNode, name: str, given: Value) -> tuple[int, ...] | None:
    """Read whole numbers that older opsets have as an attribute and newer ones as an input.

    Parameters
    ----------
    node : OnnxNode
        The node.
    name : str
        Name of the attribute.
    given : np.ndarray or None
        The input.

    Returns
    -------
    tuple of int or None
        None if both are absent.
    """
    if given is not None:
        return ints(given)
    value = node.attributes.get(name)
    return None if value is None else tuple(value)


@operator("Shape")
def _shape(node: OnnxNode, x: Value) -> Value:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return np.array(x.shape[start:end], np.int64)


@operator("Size")
def _size(_node: OnnxNode, x: Value) -> Value:
    return np.array(x.size, np.int64)


@operator("Reshape")
def _reshape(node: OnnxNode, x: Value, shape: Value) -> Value:
    """Reshape: 0 keeps a side; -1 is the side that remains."""
    sides = list(ints(shape))
    if not node.attributes.get("allowzero"):
        sides = [x.shape[at] if side == 0 else side for at, side in enumerate(sides)]
    return x.reshape(sides)


@operator("Flatten")
def _flatten(node: OnnxNode, x: Value) -> Value:
    axis = node.attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose")
def _transpose(node: OnnxNode, x: Value) -> Value:
    return x.transpose(node.attributes.get("perm", range(x.ndim)[::-1]))


@operator("Squeeze")
def _squeeze(node: OnnxNode, x: Value, axes: Value = None) -> Value:
    return xp(x).squeeze(x, setting(node, "axes", axes))


@operator("Unsqueeze")
def _unsqueeze(node: OnnxNode, x: Value, axes: Value = None) -> Value:
    return xp(x).expand_dims(x, setting(node, "axes", axes) or ())


@operator("Concat")
def _concat(node: OnnxNode, *parts: Value) -> Value:
    return xp(*parts).concatenate(parts, node.attributes["axis"])


@operator("Split")
def _split(node: OnnxNode, x: Value, sizes: Value = None) -> tuple[Value, ...]:
    axis = axis_of(node.attributes.get("axis", 0), x.ndim)
    lengths = setting(node, "split", sizes)
    if lengths is None:
        each = -(-x.shape[axis] // len(node.outputs))
        lengths = (each,) * (len(node.outputs) - 1)
        lengths += (x.shape[axis] - sum(lengths),)
    if sum(lengths) != x.shape[axis] or min(lengths) < 0:
        raise Untranslatable(f"{x.shape[axis]} is split into {list(lengths)}")
    return tuple(xp(x).split(x, np.cumsum(lengths)[:-1].tolist(), axis))


@operator("Gather")
def _gather(node: OnnxNode, x: Value, indices: Value) -> Value:
    axis = axis_of(node.attributes.get("axis", 0), x.ndim)
    if known(indices):
        side = x.shape[axis]
        if indices.size and not (-side <= indices.min() and indices.max() < side):
            raise Untranslatable(f"an index is out of {side}")
        if known(x):
            sized((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
            return np.take(x, indices, axis)
        if indices.ndim == 0:  # a slice, whose gradient is cheap
            at = int(indices) % side
            return jax.lax.index_in_dim(x, at, axis, keepdims=False)
        indices = indices % side
    return jnp.take(x, indices, axis)


@operator("GatherElements")
def _gather_elements(node: OnnxNode, x: Value, indices: Value) -> Value:
    return xp(x, indices).take_along_axis(x, indices, node.attributes.get("axis", 0))


@operator("Slice")
def _slice(
    node: OnnxNode, x: Value, starts: Value = None, ends: Value = None, axes: Value = None, steps: Value = None
) -> Value:
    """Slice with Python's rules: bounds beyond an end stop there."""
    first, last = setting(node, "starts", starts), setting(node, "ends", ends)
    if first is None or last is None:
        raise Untranslatable("starts or ends are missing")
    along = setting(node, "axes", axes) or tuple(range(len(first)))
    by = ints(steps) if steps is not None else (1,) * len(first)
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        cut[axis_of(axis, x.ndim)] = slice(start, end, step)
    return x[tuple(cut)]


@operator("Expand")
def _expand(_node: OnnxNode, x: Value, shape: Value) -> Value:
    whole = np.broadcast_shapes(x.shape, ints(shape))
    return xp(x).broadcast_to(x, sized(whole) if known(x) else whole)


@operator("Tile")
def _tile(_node: OnnxNode, x: Value, repeats: Value) -> Value:
    times = ints(repeats)
    if known(x):
        sized(side * n for side, n in zip(x.shape, times, strict=True))
    return xp(x).tile(x, times)


@operator("ConstantOfShape")
def _constant_of_shape(node: OnnxNode, shape: Value) -> Value:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).ravel()
    return np.full(sized(ints(shape)), value[0], value.dtype)


@operator("Range")
def _range(_node: OnnxNode, start: Value, limit: Value, delta: Value) -> Value:
    if not known(start, limit, delta):
        raise Untranslatable("how many numbers there are depends on the pixels")
    first, end, step = (float(v) if v.dtype.kind == "f" else int(v) for v in (start, limit, delta))
    (count,) = sized([max(0, math.ceil((end - first) / step))])
    return (first + step * np.arange(count)).astype(start.dtype)


@operator("Pad")
def _pad(node: OnnxNode, x: Value, pads: Value = None, value: Value = None, axes: Value = None) -> Value:
    """Pad; negative pads crop."""
    amounts = setting(node, "pads", pads)
    along = ints(axes) if axes is not None else tuple(range(x.ndim))
    if amounts is None or len(amounts) != 2 * len(along):
        raise Untranslatable(f"{len(along)} axes need {2 * len(along)} pads")
    around = [(0, 0)] * x.ndim
    for axis, low, high in zip(along, amounts, amounts[len(along) :], strict=False):
        around[axis_of(axis, x.ndim)] = (low, high)
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        fill = node.attributes.get("value", 0) if value is None else value.reshape(())
        return jax.lax.pad(x, jnp.asarray(fill, x.dtype), [(low, high, 0) for low, high in around])
    fits = all(0 <= low < side and 0 <= high < side for (low, high), side in zip(around, x.shape, strict=True))
    if mode not in ("reflect", "edge", "wrap") or not fits:
        raise Untranslatable(f"padding of mode {mode} with {list(amounts)}")
    return jnp.pad(x, around, mode)


@operator("DepthToSpace")
def _depth_to_space(node: OnnxNode, x: Value) -> Value:
    b, c, h, w = x.shape
    s = node.attributes["blocksize"]
    if node.attributes.get("mode", "DCR") == "DCR":
        y = x.reshape(b, s, s, c // s**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(b, c // s**2, s, s, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(b, c // s**2, h * s, w * s)


@operator("SpaceToDepth")
def _space_to_depth(node: OnnxNode, x: Value) -> Value:
    b, c, h, w = x.shape
    s = node.attributes["blocksize"]
    y = x.reshape(b, c, h // s, s, w // s, s).transpose(0, 3, 5, 1, 2, 4)
    return y.reshape(b, c * s**2, h // s, w // s)
