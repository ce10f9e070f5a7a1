"""Resizing: one matrix product along each axis, with a matrix that depends on sizes alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import HIGHEST, Untranslatable, Value, axis_of, ints, known, operator

SIDE: Final = 2**14  # most pixels along a resized axis: a matrix has as many squared
ROUNDED: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Axis:
    """Resizing of one axis.

    Attributes
    ----------
    before, after : int
        Pixels before and after.
    scale : float
        Factor between them.
    begin, end : float
        Region that is read, in fractions of the axis.
    """

    before: int
    after: int
    scale: float
    begin: float = 0.0
    end: float = 1.0

    def changes(self) -> bool:
        return (self.before, self.scale, self.begin, self.end) != (self.after, 1.0, 0.0, 1.0)

    def places(self, mode: str) -> np.ndarray:
        """Compute the position before resizing of each pixel after it.

        In float32, as other runtimes compute it: the nearest of two pixels may depend on the last digit.

        Parameters
        ----------
        mode : str
            Coordinate transformation, by ONNX's name.

        Returns
        -------
        np.ndarray
            In pixels, `[after]`.

        Raises
        ------
        Untranslatable
            For an unknown mode.
        """
        y: np.ndarray = np.arange(self.after, dtype=np.float32)
        scale = np.float32(self.scale)
        half = (y + np.float32(0.5)) / scale - np.float32(0.5)
        last, alone = self.before - 1, self.after == 1
        region = y * (self.end - self.begin) * last / max(1, self.after - 1)
        middle = np.full(1, (self.begin + self.end) * last / 2)
        found: dict[str, np.ndarray] = {
            "half_pixel": half,
            "pytorch_half_pixel": 0 * y if alone else half,
            "half_pixel_symmetric": self.before / 2 * (1 - self.after / (self.scale * self.before)) + half,
            "asymmetric": y / scale,
            "align_corners": y * last / max(1, self.after - 1),
            "tf_half_pixel_for_nn": half + 0.5,
            "tf_crop_and_resize": middle if alone else self.begin * last + region,
        }
        if mode not in found:
            raise Untranslatable(f"coordinates of mode {mode}")
        return found[mode]


@dataclass(frozen=True)
class Kernel:
    """Interpolation weights.

    Attributes
    ----------
    weigh : callable
        From distances in pixels to weights.
    reach : int
        Distance from which on weights are 0.
    """

    weigh: Callable[[np.ndarray], np.ndarray]
    reach: int


def _tent(distance: np.ndarray) -> np.ndarray:
    weight: np.ndarray = np.maximum(0, 1 - np.abs(distance))
    return weight


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Make Keys' convolution kernel (1981), whose derivative at 1 is `a`."""

    def weigh(distance: np.ndarray) -> np.ndarray:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return weigh


def _matrix(axis: Axis, places: np.ndarray, kernel: Kernel, *, antialias: bool, exclude: bool) -> np.ndarray:
    """Compute weights `[after, before]`; beyond the border the border's pixel is repeated, unless it is excluded."""
    shrink = min(axis.scale, 1.0) if antialias else 1.0
    reach = math.ceil(kernel.reach / shrink)
    neighbours = np.floor(places).astype(np.int64)[:, None] + np.arange(-reach, reach + 2)
    weights = kernel.weigh((neighbours - places[:, None]) * shrink)
    inside = (neighbours >= 0) & (neighbours < axis.before)
    if exclude:
        weights = np.where(inside, weights, 0)
    if exclude or antialias:
        sums = weights.sum(1, keepdims=True)
        weights = weights / np.where(sums == 0, 1, sums)
    found = np.zeros((axis.after, axis.before))
    rows = np.broadcast_to(np.arange(axis.after)[:, None], neighbours.shape)
    np.add.at(found, (rows, np.clip(neighbours, 0, axis.before - 1)), weights)
    return found


@operator("Resize")
def _resize(node: OnnxNode, x: Value, *more: Value) -> Value:
    """Resize. Inputs before opset 11: `x, scales`; since then `x, roi, scales, sizes`."""
    if node.opset < 11:
        return _upsample(node, x, *more)
    roi, scales, sizes = (*more, None, None, None)[:3]
    return _resized(node, x, _axes(node, x, roi, scales, sizes), _attribute(node, "coordinate", "half_pixel"))


@operator("Upsample")
def _upsample(node: OnnxNode, x: Value, scales: Value = None) -> Value:
    """Upsample with asymmetric coordinates; opset 10 does not define the nearest pixels when an image shrinks."""
    factors = node.attributes.get("scales") if scales is None else scales
    if factors is None:
        raise Untranslatable("scales are missing")
    axes = _axes(node, x, None, np.asarray(factors) if scales is None else scales, None)
    mode = node.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise Untranslatable(f"mode {mode}")
    whole = all(np.all(axis.places("asymmetric") % 1 == 0) for axis in axes.values() if axis.scale < 1)
    if mode == "nearest" and not whole:
        raise Untranslatable("the nearest pixels are not defined where an image shrinks by this factor")
    return _resized(node, x, axes, "asymmetric", nearest="floor")


def _attribute(node: OnnxNode, which: str, otherwise: str) -> str:
    name = {"coordinate": "coordinate_transformation_mode", "aspect": "keep_aspect_ratio_policy"}[which]
    return str(node.attributes.get(name, otherwise))


def _axes(node: OnnxNode, x: Value, roi: Value, scales: Value, sizes: Value) -> dict[int, Axis]:
    """Return the axes to resize, by number."""
    along = [axis_of(axis, x.ndim) for axis in node.attributes.get("axes", range(x.ndim))]
    before = [x.shape[axis] for axis in along]
    roi, scales, sizes = (None if v is None or v.size == 0 else v for v in (roi, scales, sizes))
    if not known(roi, scales, sizes) or (scales is None) == (sizes is None):
        raise Untranslatable("either scales or sizes should be given, and not depend on the pixels")
    if scales is not None:
        factors = [float(v) for v in scales.ravel()]
        after = [math.floor(n * np.float32(v)) for n, v in zip(before, factors, strict=True)]
    else:
        after = list(ints(sizes))
        factors = [new / old for new, old in zip(after, before, strict=True)]
        if (policy := _attribute(node, "aspect", "stretch")) != "stretch":
            chosen = {"not_larger": min, "not_smaller": max}[policy](factors)
            factors, after = [chosen] * len(along), [int(chosen * n + 0.5) for n in before]
    if min(factors) <= 0 or min(after) < 1 or max(after) > SIDE:
        raise Untranslatable(f"sides {before} can't become {after}")
    edges = [0.0] * len(along) + [1.0] * len(along)
    if _attribute(node, "coordinate", "half_pixel") == "tf_crop_and_resize":
        if roi is None or roi.size != len(edges):
            raise Untranslatable(f"a region of {len(edges)} numbers is needed")
        edges = [float(v) for v in roi.ravel()]
    found = map(Axis, before, after, factors, edges[: len(along)], edges[len(along) :])
    return {axis: each for axis, each in zip(along, found, strict=True) if each.changes()}


def _resized(node: OnnxNode, x: Value, axes: dict[int, Axis], coordinates: str, nearest: str | None = None) -> Any:
    mode, dtype = str(node.attributes.get("mode", "nearest")), x.dtype
    antialias, exclude = bool(node.attributes.get("antialias")), bool(node.attributes.get("exclude_outside"))
    kernels = {"linear": Kernel(_tent, 1), "cubic": Kernel(_cubic(node.attributes.get("cubic_coeff_a", -0.75)), 2)}
    if mode not in ("nearest", *kernels) or (mode == "nearest" and antialias):
        raise Untranslatable(f"mode {mode}" + " with antialias" * antialias)
    if mode == "nearest" and coordinates == "tf_crop_and_resize":
        raise Untranslatable("runtimes disagree on the nearest pixels for coordinates of mode tf_crop_and_resize")
    rounded = ROUNDED.get(nearest or str(node.attributes.get("nearest_mode", "round_prefer_floor")))
    if rounded is None:
        raise Untranslatable(f"nearest_mode {node.attributes['nearest_mode']}")
    if not jnp.issubdtype(dtype, jnp.floating) and mode != "nearest":
        raise Untranslatable(f"mode {mode} on {dtype}")
    x = jnp.asarray(x)
    for at, axis in axes.items():
        if axis.before > SIDE:
            raise Untranslatable(f"a side of {axis.before} pixels is too long")
        places = axis.places(coordinates)
        outside = (places < 0) | (places > axis.before - 1)
        if mode == "nearest":
            x = _taken(x, np.clip(rounded(places), 0, axis.before - 1).astype(np.int64), at)
        else:
            weights = _matrix(axis, places, kernels[mode], antialias=antialias, exclude=exclude)
            product = jnp.tensordot(x, jnp.asarray(weights.T, dtype), (at, 0), precision=HIGHEST)
            x = jnp.moveaxis(product, -1, at)
        if coordinates == "tf_crop_and_resize" and outside.any():
            shape = (-1, *(1,) * (x.ndim - 1 - at))
            fill = jnp.asarray(node.attributes.get("extrapolation_value", 0.0), dtype)
            x = jnp.where(outside.reshape(shape), fill, x)
    return x


def _taken(x: Value, places: np.ndarray, axis: int) -> Value:
    """Take pixels at indices; repeated ones, the usual case, by a broadcast, whose gradient is a sum."""
    times, left = divmod(len(places), x.shape[axis])
    if times and not left and np.array_equal(places, np.repeat(np.arange(x.shape[axis]), times)):
        return jnp.repeat(x, times, axis, total_repeat_length=len(places))
    return jnp.take(x, places, axis)
