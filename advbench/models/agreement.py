"""Comparison of two models up to rounding: their logits, and the input gradients of a weighted sum."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core.external import raised
from advbench.core.model import Model

IMAGES: Final = 64
NUMBERS: Final = 2**20  # pixels of all of them, at most
LOGITS: Final = 1e-5  # of the largest logit
GRADIENTS: Final = 1e-4  # of the gradient, for half of the images: a unit at its kink may fall either way for others
WORST: Final = 0.2  # of the largest gradient, for all of them
NOISE: Final = 1 / 8  # mixed into images: on flat ones equal pixels tie, and rounding decides which is the maximum


class Difference(NamedTuple):
    """Relative differences: of logits to the largest logit; of input gradients, the median and the worst."""

    logits: float
    gradients: float
    worst: float

    @property
    def reason(self) -> str | None:
        """Explain a difference beyond rounding; None if there is none."""
        if not self.logits <= LOGITS:
            return f"its logits differ by {self.logits:.1g} of the largest, {LOGITS:.0e} being allowed"
        if not (self.gradients <= GRADIENTS and self.worst <= WORST):
            return f"its input gradients differ by {max(self.gradients, self.worst):.1g}"
        return None


def difference(given: Model, other: Model, images: np.ndarray) -> Difference:
    """Compare two models on images.

    Parameters
    ----------
    given, other : Model
    images : np.ndarray
        Float32 `[n, H, W, C]` in [0, 1]; as many of the first 64 are looked at as have 2**20 pixels.

    Returns
    -------
    Difference
        Infinite where one is finite and the other is not.
    """
    few = images[: max(2, min(IMAGES, NUMBERS // math.prod(images.shape[1:])))]
    noise = np.random.default_rng(0).uniform(size=few.shape)
    x = jnp.asarray(few + NOISE * (noise - few), jnp.float32)
    with raised():
        (a, da), (b, db) = (tuple(np.asarray(v, np.float64) for v in _answers(m, x)) for m in (given, other))
    if a.shape != b.shape or not _alike(a, b) or not _alike(da, db):
        return Difference(math.inf, math.inf, math.inf)
    sizes, apart = (np.linalg.norm(np.nan_to_num(v).reshape(len(v), -1), axis=1) for v in (da, da - db))
    logits = np.abs(np.nan_to_num(a - b)).max() / max(np.abs(np.nan_to_num(a)).max(), 1e-30)
    largest = max(float(sizes.max()), 1e-30)
    return Difference(
        float(logits), float(np.median(apart / np.maximum(sizes, 1e-3 * largest))), float(apart.max() / largest)
    )


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(np.isfinite(a), np.isfinite(b))


@jax.jit
def _answers(model: Model, x: Array) -> tuple[Any, Any]:
    """Logits `[n, K]`, and the input gradient `[n, H, W, C]` of a sum with weights of all signs."""
    logits, back = jax.vjp(model, x)
    return logits, back(jnp.sin(1.0 + jnp.arange(logits.size)).reshape(logits.shape))[0]
