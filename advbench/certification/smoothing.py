"""Randomised smoothing (Cohen et al. 2019, arXiv 1902.02918): L2 radii for any model, from its votes under noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.certification.certificate import Smoothing
from advbench.core.intervals import clopper_pearson
from advbench.core.model import Model


class Smoothed(NamedTuple):
    """Predictions of the smoothed classifier for n images.

    Parameters
    ----------
    prediction : np.ndarray
        int32 `[n]`; -1: abstained.
    radius : np.ndarray
        float64 `[n]`, L2, white being 1; 0 where abstained.
    """

    prediction: np.ndarray
    radius: np.ndarray


def radius(votes: int, draws: int, sigma: float, alpha: float) -> float:
    """Return the certified L2 radius of a vote: sigma times the normal quantile of the votes' lower bound.

    The bound is Clopper and Pearson's, one-sided, and holds with probability 1 - alpha.

    Parameters
    ----------
    votes : int
        Draws for the class.
    draws : int
        All draws, at least `votes`.
    sigma : float
        Standard deviation of the noise, white being 1.
    alpha : float
        Error probability, in (0, 1).

    Returns
    -------
    float
        Radius; 0 if nothing is certified.

    Examples
    --------
    >>> round(radius(1000, 1000, 0.25, 0.001), 3)
    0.616
    """
    from scipy.special import ndtri  # type: ignore[import-untyped]

    low, _ = clopper_pearson(votes, draws, 1 - 2 * alpha)
    return float(sigma * ndtri(low)) if low > 0.5 else 0.0


def least_draws(alpha: float) -> int:
    """Return the fewest draws that can certify anything: with fewer, even unanimous votes prove no majority.

    Parameters
    ----------
    alpha : float
        Error probability, in (0, 1).

    Returns
    -------
    int
        Number of draws.
    """
    return next(draws for draws in count(1) if radius(draws, draws, 1.0, alpha) > 0)


def smooth(
    model: Model,
    x: np.ndarray,
    indices: np.ndarray,
    how: Smoothing,
    *,
    seed: int,
    batch_size: int,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Smoothed:
    """Predict with certified radii; an image's noise depends on the seed, its index and the draw alone.

    Parameters
    ----------
    model : Model
        Base classifier; it sees noisy images, not clipped.
    x : np.ndarray
        Clean images, float32 `[n, H, W, C]` in [0, 1].
    indices : np.ndarray
        Indices in the data set, int32 `[n]`.
    how : Smoothing
        Sampling parameters. The first draws select a class, its votes are counted in the others.
    seed : int
        Fixes the noise.
    batch_size : int
        Noisy images in a call.
    tell : Callable[[int, int], None], optional
        Called with the number of images done and in all.

    Returns
    -------
    Smoothed
        Predictions and radii.
    """
    predictions = np.full(len(x), -1, np.int32)
    radii = np.zeros(len(x))
    for at, (image, index) in enumerate(zip(x, indices.tolist(), strict=True)):
        key = jax.random.fold_in(jax.random.key(seed), index)
        vote = partial(_votes, model, jax.device_put(image), key, how.sigma, size=batch_size)
        first = vote(0, how.selection)
        chosen = int(first.argmax())
        found = radius(int(vote(how.selection, how.samples)[chosen]), how.samples, how.sigma, how.alpha)
        if found > 0:
            predictions[at], radii[at] = chosen, found
        tell(at + 1, len(x))
    return Smoothed(predictions, radii)


def _votes(model: Model, x: Array, key: Array, sigma: float, begin: int, draws: int, *, size: int) -> np.ndarray:
    """Count the votes for each class in draws `begin` to `begin + draws`, `[K]`; non-finite outputs vote for none."""
    batches = [_count(model, x, key, sigma, at, begin + draws, size) for at in range(begin, begin + draws, size)]
    return np.asarray(sum(batches[1:], batches[0]))


@partial(jax.jit, static_argnames="size")
def _count(model: Model, x: Array, key: Array, sigma: float, at: int, end: int, size: int) -> Array:
    draws = at + jnp.arange(size)
    noise = jax.vmap(lambda draw: jax.random.normal(jax.random.fold_in(key, draw), x.shape))(draws)
    logits = model(x + sigma * noise)
    counted = (draws < end) & jnp.isfinite(logits).all(-1)
    wins = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=jnp.int32)
    return jnp.where(counted[:, None], wins, 0).sum(0)
