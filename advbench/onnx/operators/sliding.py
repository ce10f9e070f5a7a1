"""Windows that slide over an image: where they lie, and what is reduced within them. Arrays are [N, C, ...]."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import (
    Untranslatable,
    Value,
)

WINDOW = 64  # most pixels of a window that are taken one by one


Pooling = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Windows:
    """Windows of a convolution or pooling, by axis.

    Attributes
    ----------
    sides : tuple of int
        Sides of a window.
    strides : tuple of int
        Steps between windows.
    dilations : tuple of int
        Steps within a window.
    pads : tuple of (int, int)
        Padding before and after the image.
    beyond : tuple of int
        Additional padding after the image, for `ceil_mode`.
    """

    sides: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    beyond: tuple[int, ...]  # more padding behind, which `ceil_mode` asks for

    @classmethod
    def of(cls, node: OnnxNode, x: Value, sides: Sequence[int]) -> Windows:
        """Read the attributes of a node.

        Parameters
        ----------
        node : OnnxNode
            The node.
        x : Array
            Images `[N, C, ...]`.
        sides : sequence of int
            Sides of a window.

        Returns
        -------
        Windows
            The windows.

        Raises
        ------
        Untranslatable
            When the attributes do not fit the images.
        """
        rank = x.ndim - 2
        strides = tuple(node.attributes.get("strides", (1,) * rank))
        dilations = tuple(node.attributes.get("dilations", (1,) * rank))
        if not len(sides) == len(strides) == len(dilations) == rank or min(*sides, *strides, *dilations) < 1:
            raise Untranslatable(f"windows {list(sides)} in steps {list(strides)} on {rank} axes")
        spans = [(side - 1) * d + 1 for side, d in zip(sides, dilations, strict=True)]
        pads = _pads(node, x.shape[2:], spans, strides)
        fits = zip(x.shape[2:], spans, strides, pads, strict=True)
        beyond = tuple(_beyond(*fit) if node.attributes.get("ceil_mode") else 0 for fit in fits)
        return cls(tuple(sides), strides, dilations, pads, beyond)

    def slices(self, x: Value, fill: float) -> Iterator[Value]:
        """Yield, for each pixel of the window in row-major order, its values in all windows.

        Parameters
        ----------
        x : Array
            Images `[N, C, ...]`.
        fill : float
            Value of the padding.

        Returns
        -------
        iterator of Array
            `[N, C, ...]` each.
        """
        around = [(low, high, 0) for low, high in self.around()]
        x = lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), (0, 0, 0), *around])
        counts = self.counts(x.shape[2:])
        for at in itertools.product(*map(range, self.sides)):
            starts = [i * d for i, d in zip(at, self.dilations, strict=True)]
            ends = [start + (n - 1) * s + 1 for start, n, s in zip(starts, counts, self.strides, strict=True)]
            yield lax.slice(x, (0, 0, *starts), (*x.shape[:2], *ends), (1, 1, *self.strides))

    def around(self) -> list[tuple[int, int]]:
        """Return the whole padding by axis.

        Returns
        -------
        list of (int, int)
            Before and after the image.
        """
        return [(low, high + more) for (low, high), more in zip(self.pads, self.beyond, strict=True)]

    def counts(self, padded: Sequence[int]) -> list[int]:
        """Count windows along each axis.

        Parameters
        ----------
        padded : sequence of int
            Sides of the padded image.

        Returns
        -------
        list of int
            Windows by axis.
        """
        spans = [(side - 1) * d + 1 for side, d in zip(self.sides, self.dilations, strict=True)]
        counts = [(n - span) // s + 1 for n, span, s in zip(padded, spans, self.strides, strict=True)]
        if min(counts) < 1:
            raise Untranslatable(f"windows of {spans} pixels do not fit into {list(padded)}")
        return counts

    def pooled(self, x: Value, fill: float, join: Callable[[Value, Value], Value], large: Pooling) -> Value:
        """Combine the values of all windows: pixel by pixel for small ones, whose gradients are fast on CPU.

        Parameters
        ----------
        x : Array
            Images `[N, C, ...]`.
        fill : float
            Value of the padding.
        join : callable
            Combines two arrays.
        large : callable
            Pooling for large windows.

        Returns
        -------
        Array
            `[N, C, ...]`.
        """
        if self.is_small():
            return reduce(join, self.slices(x, fill))
        if any(max(pad) >= side * d for pad, side, d in zip(self.pads, self.sides, self.dilations, strict=True)):
            raise Untranslatable(f"padding {list(self.pads)} is as wide as windows of {list(self.sides)} pixels")
        sizes = [n + sum(pad) for n, pad in zip(x.shape[2:], self.around(), strict=True)]
        self.counts(sizes)
        if [*x.shape[2:]] == sizes == [*self.sides] and set(self.dilations) == {1}:
            return first_largest(x) if large is lax.max else x.sum(tuple(range(2, x.ndim)), keepdims=True)
        return self.reduced(x, fill, large)

    def is_small(self) -> bool:
        """Return whether the pixels of a window can be taken one by one."""
        return math.prod(self.sides) <= WINDOW

    def reduced(self, x: Value, fill: float, join: Pooling) -> Value:
        """Values of all windows, [N, C, ...], by JAX's own operation."""
        self.counts([n + sum(pad) for n, pad in zip(x.shape[2:], self.around(), strict=True)])
        return lax.reduce_window(
            x,
            np.asarray(fill, x.dtype),
            join,
            (1, 1, *self.sides),
            (1, 1, *self.strides),
            [(0, 0), (0, 0), *self.around()],
            window_dilation=(1, 1, *self.dilations),
        )


def first_largest(x: Value) -> Value:
    """Return the largest pixel of each image and channel; of tied ones the first gets the gradient.

    Parameters
    ----------
    x : Value
        Images `[N, C, ...]`.

    Returns
    -------
    Value
        `[N, C, 1, ...]`.
    """
    return _largest(x.reshape(*x.shape[:2], -1)).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


@jax.custom_jvp
def _largest(rows: Value) -> Value:
    return rows.max(-1)


@_largest.defjvp
def _largest_and_slope(primals: Any, tangents: Any) -> Any:
    (rows,), (change,) = primals, tangents
    first = rows.argmax(-1, keepdims=True) == jnp.arange(rows.shape[-1])
    return rows.max(-1), jnp.where(first, change, 0).sum(-1).astype(rows.dtype)


def _pads(
    node: OnnxNode, size: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    how = node.attributes.get("auto_pad", "NOTSET")
    if how in ("SAME_UPPER", "SAME_LOWER"):
        needs = [max(0, (-(-n // s) - 1) * s + span - n) for n, span, s in zip(size, spans, strides, strict=True)]
        pairs = [(need // 2, need - need // 2) for need in needs]
        return tuple(pair if how == "SAME_UPPER" else pair[::-1] for pair in pairs)
    pads = node.attributes.get("pads", [0] * 2 * len(size)) if how == "NOTSET" else [0] * 2 * len(size)
    if len(pads) != 2 * len(size) or min(pads) < 0:
        raise Untranslatable(f"padding {pads} on {len(size)} axes")
    return tuple(zip(pads[: len(size)], pads[len(size) :], strict=True))


def _beyond(size: int, span: int, stride: int, pads: tuple[int, int]) -> int:
    """Compute the padding for a last window, unless it would begin after the image and its padding in front."""
    steps = -(-(size + sum(pads) - span) // stride)
    if steps * stride >= size + pads[0]:
        steps -= 1
    return max(0, steps * stride + span - size - sum(pads))
