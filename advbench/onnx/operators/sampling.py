"""Sampling of images at arbitrary positions, as in spatial transformers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import Untranslatable, Value, ints, operator

CUBIC = -0.75  # the coefficient that PyTorch and ONNX Runtime have
MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""Names of the modes before opset 20."""


@operator("GridSample")
def _grid_sample(node: OnnxNode, x: Value, grid: Value) -> Value:
    """Sample pixels at positions `[N, H, W, 2]`, x before y, from -1 to 1 across the image, as PyTorch does."""
    if x.ndim != 4:
        raise Untranslatable(f"images of {x.ndim - 2} axes")
    mode = node.attributes.get("mode", "linear")
    mode = MODES.get(mode, mode)
    beyond = node.attributes.get("padding_mode", "zeros")
    if mode not in ("linear", "nearest", "cubic") or beyond not in ("zeros", "border", "reflection"):
        raise Untranslatable(f"mode {mode!r} with padding {beyond!r}")
    aligned = bool(node.attributes.get("align_corners"))
    x, grid = jnp.asarray(x), jnp.asarray(grid)
    places = []
    for axis, side in ((1, x.shape[2]), (0, x.shape[3])):
        at = grid[..., axis]
        at = (at + 1) / 2 * (side - 1) if aligned else ((at + 1) * side - 1) / 2
        places.append(at if mode == "cubic" else _brought_in(at, side, beyond, aligned=aligned))
    rows, columns = (_taps(at, mode) for at in places)
    total = jnp.zeros((*x.shape[:2], *grid.shape[1:3]), x.dtype)
    for row, down in rows:
        for column, across in columns:
            total = total + _pixels(x, row, column, beyond, aligned=aligned) * (down * across)[:, None]
    return total


def _taps(at: Array, mode: str) -> list[tuple[Array, Array]]:
    """Return whole positions around each position, and their weights."""
    if mode == "nearest":
        return [(jnp.round(at), jnp.ones_like(at))]
    first = jnp.floor(jax.lax.stop_gradient(at))
    part = at - first
    if mode == "linear":
        return [(first, 1 - part), (first + 1, part)]
    return [(first + step, _cubic(jnp.abs(part - step))) for step in (-1, 0, 1, 2)]


def _cubic(far: Array) -> Array:
    """Compute the cubic convolution kernel (Keys 1981) for distances up to 2."""
    near = ((CUBIC + 2) * far - (CUBIC + 3)) * far * far + 1
    outer = CUBIC * (((far - 5) * far + 8) * far - 4)
    return jnp.where(far <= 1, near, outer)


def _brought_in(at: Array, side: int, beyond: str, *, aligned: bool) -> Array:
    """Move positions outside the image to its edge, or mirror them there."""
    if beyond == "zeros":
        return at
    if beyond == "reflection":
        low, span = (0.0, side - 1) if aligned else (-0.5, side)
        if span == 0:
            return jnp.zeros_like(at)
        away = jnp.abs(at - low)
        turns = jnp.floor(away / span)
        rest = away - turns * span
        at = jnp.where(turns % 2 == 0, rest, span - rest) + low
    return jnp.clip(at, 0, side - 1)


def _pixels(x: Array, row: Array, column: Array, beyond: str, *, aligned: bool) -> Array:
    """Return pixels `[N, C, H, W]` at whole positions `[N, H, W]`, with the given padding outside the image."""
    inside = None
    if beyond == "zeros":
        inside = (row >= 0) & (row < x.shape[2]) & (column >= 0) & (column < x.shape[3])
    places = []
    for at, side in ((row, x.shape[2]), (column, x.shape[3])):
        moved = _brought_in(at, side, beyond, aligned=aligned)
        places.append(jnp.clip(jnp.round(moved), 0, side - 1).astype(jnp.int32))
    found = jax.vmap(lambda image, i, j: image[:, i, j])(x, *places)
    return found if inside is None else jnp.where(inside[:, None], found, 0)


@operator("AffineGrid")
def _affine_grid(node: OnnxNode, theta: Value, size: Value) -> Value:
    """Compute positions `[N, H, W, 2]` under an affine map `[N, 2, 3]` of the image."""
    sides = ints(size)
    if len(sides) != 4:
        raise Untranslatable(f"images of {len(sides) - 2} axes")
    aligned = bool(node.attributes.get("align_corners"))
    if aligned and 1 in sides[2:]:
        raise Untranslatable("runtimes disagree on the position of a single pixel with align_corners")
    shrunk = [1.0 if aligned else (side - 1) / side for side in sides[2:]]
    rows, columns = (
        np.linspace(-1, 1, side, dtype=np.float32) * np.float32(by) if side > 1 else np.zeros(1, np.float32)
        for side, by in zip(sides[2:], shrunk, strict=True)
    )
    points = np.stack([*np.meshgrid(columns, rows), np.ones((len(rows), len(columns)), np.float32)], -1)
    return jnp.einsum("hwk,njk->nhwj", points, jnp.asarray(theta), precision=jax.lax.Precision.HIGHEST)
