"""Common corruptions: noise, blur, weather and others, generated from clean images as a reference without an adversary.

The kinds and severities are those of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv 1903.12261) for colour images, and
of MNIST-C (Mu & Gilmer 2019, arXiv 1906.02337) for grey ones. Numbers are similar to those on the published files, not
equal: random draws differ, and what needs photographs or ImageMagick there has substitutes here (`STAND_INS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from advbench.core.errors import UsageError
from advbench.core.names import found
from advbench.data.corruptions import (
    blur,
    digital,
    geometry,
    noise,
    strokes,
    weather,
)

SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
"""Float image `[H, W, C]` in [0, 1], strength, and random generator -> image, not yet clipped."""

COLOUR: Mapping[str, tuple[Corruption, Sequence[Any]]] = {
    "gaussian-noise": (noise.gaussian, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot-noise": (noise.shot, (500, 250, 100, 75, 50)),
    "impulse-noise": (noise.impulse, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus-blur": (blur.defocus, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass-blur": (
        blur.glass,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    "motion-blur": (blur.motion, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom-blur": (blur.zoom, (1.06, 1.11, 1.16, 1.21, 1.26)),
    "snow": (
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": (weather.frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": (partial(weather.fog, size=32), ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": (digital.brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (digital.contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic": (
        geometry.elastic,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": (digital.pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": (digital.jpeg, (80, 65, 58, 50, 40)),
    "speckle-noise": (noise.speckle, (0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian-blur": (blur.gaussian, (0.4, 0.6, 0.7, 0.8, 1)),
    "spatter": (
        weather.spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
            (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
            (0.65, 0.3, 1, 0.69, 0.5, "water"),
            (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
            (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
        ),
    ),
    "saturate": (digital.saturate, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))),
}
"""CIFAR-10-C: fifteen kinds and, from `speckle-noise` on, the four extra ones, each with five strengths."""

GREY: Mapping[str, tuple[Corruption, Sequence[Any]]] = {
    "shot-noise": (noise.shot, (60, 25, 12, 5, 3)),
    "impulse-noise": (noise.impulse, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "glass-blur": (
        blur.frosted_glass,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion-blur": (blur.motion, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "shear": (geometry.shear, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "scale": (geometry.scale, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "rotate": (geometry.rotate, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "brightness": (digital.brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "translate": (geometry.translate, (1, 2, 3, 4, 5)),
    "stripe": (strokes.stripe, (3, 4, 5, 6, 7)),
    "fog": (partial(weather.fog, size=256), ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "spatter": (
        weather.spatter,
        (
            (0.65, 0.3, 4, 0.69, 0.6, "mud"),
            (0.65, 0.3, 3, 0.68, 0.6, "mud"),
            (0.65, 0.3, 2, 0.68, 0.5, "mud"),
            (0.65, 0.3, 1, 0.65, 1.5, "mud"),
            (0.67, 0.4, 1, 0.65, 1.5, "mud"),
        ),
    ),
    "dotted-line": (strokes.dotted_line, (1, 2, 3, 4, 5)),
    "zigzag": (strokes.zigzag, (1, 2, 3, 4, 5)),
    "canny-edges": (strokes.canny_edges, (0.2, 0.4, 0.6, 0.8, 1.0)),
}
"""MNIST-C: fifteen kinds, each with five strengths.

The published files have one strength of each, and four kinds know no other: for these, severity 5 is the published
`stripe` and `canny-edges`, and severity 1 the published single line.
"""

PUBLISHED = {
    "shot-noise": 5, "impulse-noise": 4, "glass-blur": 1, "motion-blur": 1, "shear": 2, "scale": 3, "rotate": 2,
    "brightness": 5, "translate": 3, "stripe": 5, "fog": 5, "spatter": 4, "dotted-line": 1, "zigzag": 1,
    "canny-edges": 5,
}  # fmt: skip
"""Severity of each kind in the MNIST-C files."""

STAND_INS = {
    "frost": "crystals from a fractal, in place of photographs",
    "motion-blur": "a one-sided Gaussian streak, as ImageMagick documents its own",
    "snow": "streaks of the same kind",
    "spatter": "water shaded by its own slope; mud as published",
}
"""Corruptions made otherwise than in the authors' code, and how."""


def kinds(channels: int) -> Mapping[str, tuple[Corruption, Sequence[Any]]]:
    """Return the corruptions of grey or of colour images.

    Parameters
    ----------
    channels : int
        Channels of an image, 1 or 3.

    Returns
    -------
    Mapping[str, tuple[Corruption, Sequence[Any]]]
        Function and five strengths, by name.
    """
    return GREY if channels == 1 else COLOUR


def corrupt(
    images: np.ndarray, kind: str, severity: int, *, indices: Sequence[int] | None = None, seed: int = 0
) -> np.ndarray:
    """Corrupt images; each result depends on the image, its index in the data set and the seed alone.

    Parameters
    ----------
    images : np.ndarray
        uint8 `[n, H, W, C]`, C being 1 or 3.
    kind : str
        One of `kinds(C)`.
    severity : int
        From 1 to 5.
    indices : Sequence[int], optional
        Index of each image in its data set; by default from 0.
    seed : int, default 0
        Fixes all randomness.

    Returns
    -------
    np.ndarray
        uint8 `[n, H, W, C]`.

    Raises
    ------
    UsageError
        For an unknown kind or severity.

    Examples
    --------
    >>> import numpy as np
    >>> grey = np.full((1, 28, 28, 1), 100, np.uint8)
    >>> int(corrupt(grey, "brightness", 2).min())
    151
    """
    known = kinds(images.shape[-1])
    kind = found("corruption", kind, known)
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity} should be from 1 to 5")
    function, strengths = known[kind]
    numbers = range(len(images)) if indices is None else indices
    out = np.empty_like(images)
    for at, (image, number) in enumerate(zip(images, numbers, strict=True)):
        rng = np.random.default_rng([seed, crc32(kind.encode()), severity, int(number)])
        made = function(image / 255.0, strengths[severity - 1], rng)
        out[at] = np.round(255 * np.clip(made, 0, 1))
    return out
