"""Core ATen operators that move values or gather them: shapes, indices, padding, sums over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from advbench.models.aten.table import Value, entered, number


@entered("sym_size")
def _size(x: Value, axis: int) -> int:
    size: int = x.shape[axis]
    return size


@entered("view", "_unsafe_view", "reshape")
def _view(x: Value, shape: Sequence[int]) -> Value:
    return x.reshape(tuple(shape))


@entered("permute")
def _permute(x: Value, axes: Sequence[int]) -> Value:
    return x.transpose(tuple(axes))


@entered("transpose")
def _transpose(x: Value, a: int, b: int) -> Value:
    return jnp.swapaxes(x, a, b)


@entered("t")
def _t(x: Value) -> Value:
    return x.T


@entered("squeeze")
def _squeeze(x: Value, axes: Any = None) -> Value:
    asked = range(x.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    return x.reshape([n for at, n in enumerate(x.shape) if n > 1 or at not in {a % x.ndim for a in asked}])


@entered("unsqueeze")
def _unsqueeze(x: Value, axis: int) -> Value:
    return jnp.expand_dims(x, axis)


@entered("expand")
def _expand(x: Value, shape: Sequence[int], **_: Any) -> Value:
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [mine if side == -1 else side for side, mine in zip(shape, own, strict=True)])


@entered("repeat")
def _repeat(x: Value, times: Sequence[int]) -> Value:
    return jnp.tile(x, tuple(times))


@entered("cat")
def _cat(parts: Sequence[Value], axis: int = 0) -> Value:
    return jnp.concatenate(parts, axis)


@entered("stack")
def _stack(parts: Sequence[Value], axis: int = 0) -> Value:
    return jnp.stack(parts, axis)


@entered("slice")
def _slice(x: Value, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Value:
    return x[(*(slice(None),) * (axis % x.ndim), slice(start, end, step))]


@entered("select")
def _select(x: Value, axis: int, at: int) -> Value:
    return x[(*(slice(None),) * (axis % x.ndim), at)]


@entered("slice_scatter")
def _slice_scatter(
    x: Value, part: Value, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    return x.at[(*(slice(None),) * (axis % x.ndim), slice(start, end, step))].set(part)


@entered("copy")
def _copy(x: Value, source: Value, *_: Any) -> Value:
    return jnp.broadcast_to(source, x.shape).astype(x.dtype)


@entered("split_with_sizes")
def _split(x: Value, sizes: Sequence[int], axis: int = 0) -> list[Value]:
    return jnp.split(x, np.cumsum(sizes)[:-1].tolist(), axis)


@entered("unbind")
def _unbind(x: Value, axis: int = 0) -> list[Value]:
    return [_select(x, axis, at) for at in range(x.shape[axis])]


@entered("flip")
def _flip(x: Value, axes: Sequence[int]) -> Value:
    return jnp.flip(x, tuple(axes))


@entered("roll")
def _roll(x: Value, by: Sequence[int], axes: Sequence[int] = ()) -> Value:
    return jnp.roll(x, tuple(by), tuple(axes) or None)


@entered("index")
def _index(x: Value, indices: Sequence[Value]) -> Value:
    return x[tuple(slice(None) if each is None else each for each in indices)]


@entered("index_select")
def _index_select(x: Value, axis: int, indices: Value) -> Value:
    return jnp.take(x, indices, axis)


@entered("embedding")
def _embedding(weight: Value, indices: Value, *_: Any) -> Value:
    return weight[indices]


@entered("gather")
def _gather(x: Value, axis: int, indices: Value, **_: Any) -> Value:
    return jnp.take_along_axis(x, indices, axis)


@entered("constant_pad_nd")
def _pad(x: Value, pads: Sequence[int], value: Value = 0.0) -> Value:
    return jnp.pad(_cropped(x, pads), _around(x, pads), constant_values=value)


@entered("reflection_pad1d", "reflection_pad2d")
def _reflect(x: Value, pads: Sequence[int]) -> Value:
    return jnp.pad(x, _around(x, pads), mode="reflect")


@entered("replication_pad1d", "replication_pad2d")
def _replicate(x: Value, pads: Sequence[int]) -> Value:
    return jnp.pad(x, _around(x, pads), mode="edge")


def _around(x: Value, pads: Sequence[int]) -> list[tuple[int, int]]:
    """PyTorch begins with the last axis."""
    pairs = [(max(0, low), max(0, high)) for low, high in zip(pads[::2], pads[1::2], strict=True)]
    return [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]


def _cropped(x: Value, pads: Sequence[int]) -> Value:
    """Crop by negative padding."""
    cuts = [slice(max(0, -low), -max(0, -high) or None) for low, high in zip(pads[::2], pads[1::2], strict=True)]
    return x[(..., *cuts[::-1])]


@entered("mean", "mean.dim")
def _mean(x: Value, axes: Any = None, keep: bool = False, **_: Any) -> Value:
    return x.mean(_axes(axes), keepdims=keep)


@entered("sum", "sum.dim_IntList")
def _sum(x: Value, axes: Any = None, keep: bool = False, **_: Any) -> Value:
    return x.sum(_axes(axes), keepdims=keep)


@entered("amax")
def _amax(x: Value, axes: Any = (), keep: bool = False) -> Value:
    return x.max(_axes(axes), keepdims=keep)


@entered("amin")
def _amin(x: Value, axes: Any = (), keep: bool = False) -> Value:
    return x.min(_axes(axes), keepdims=keep)


@entered("any")
def _any(x: Value, axes: Any = None, keep: bool = False) -> Value:
    return x.any(_axes(axes), keepdims=keep)


@entered("max.dim")
def _max(x: Value, axis: int, keep: bool = False) -> tuple[Value, Value]:
    at = x.argmax(axis, keepdims=True)
    y = jnp.take_along_axis(x, at, axis)
    return (y, at) if keep else (y.squeeze(axis), at.squeeze(axis))


@entered("var.correction")
def _var(x: Value, axes: Any = None, *, correction: Value = 1, keepdim: bool = False) -> Value:
    return x.var(_axes(axes), ddof=1 if correction is None else correction, keepdims=keepdim)


@entered("linalg_vector_norm")
def _norm(x: Value, order: Value = 2, axes: Any = None, keep: bool = False, **_: Any) -> Value:
    """Compute a norm whose gradient at a vector of zeros is 0, as PyTorch's."""
    if order != 2:
        raise NotImplementedError(f"norm of order {order}")
    squares = (x**2).sum(_axes(axes), keepdims=keep)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


@entered("cumsum")
def _cumsum(x: Value, axis: int, **_: Any) -> Value:
    return x.cumsum(axis)


def _axes(axes: Any) -> tuple[int, ...] | None:
    return (axes,) if isinstance(axes, int) else tuple(axes or ()) or None


@entered("full")
def _full(shape: Sequence[int], value: Value, *, dtype: str | None = None, **_: Any) -> Value:
    return jnp.full(tuple(shape), value, number(dtype))


@entered("empty", "zeros")
def _zeros(shape: Sequence[int], *, dtype: str | None = None, **_: Any) -> Value:
    """Zeros; what is empty is written before it is read."""
    return jnp.zeros(tuple(shape), number(dtype))


@entered("full_like")
def _full_like(x: Value, value: Value, *, dtype: str | None = None, **_: Any) -> Value:
    return jnp.full_like(x, value, number(dtype))


@entered("scalar_tensor")
def _scalar(value: Value, *, dtype: str | None = None, **_: Any) -> Value:
    return jnp.asarray(value, number(dtype))


@entered("arange.start_step")
def _arange(start: Value, end: Value, step: Value = 1, *, dtype: str | None = None, **_: Any) -> Value:
    return jnp.arange(start, end, step, number(dtype))


@entered("_to_copy")
def _to_copy(x: Value, *, dtype: str | None = None, **_: Any) -> Value:
    return x if dtype is None else jnp.asarray(x).astype(number(dtype))
