"""Noise on every value, on float images `[H, W, C]`."""

import numpy as np
from numpy.random import Generator

from advbench.data.corruptions.pixels import Pixels


def gaussian(x: Pixels, deviation: float, rng: Generator) -> Pixels:
    """Add normal noise, as in low light.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    deviation : float
        Standard deviation, white being 1.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return x + rng.normal(0, deviation, x.shape)


def shot(x: Pixels, photons: float, rng: Generator) -> Pixels:
    """Apply Poisson noise.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    photons : float
        Mean count at white.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return rng.poisson(x * photons) / photons


def impulse(x: Pixels, share: float, rng: Generator) -> Pixels:
    """Turn random values black or white.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    share : float
        Share of all values.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return np.where(rng.random(x.shape) < share, rng.integers(0, 2, x.shape), x)


def speckle(x: Pixels, deviation: float, rng: Generator) -> Pixels:
    """Add normal noise in proportion to the value.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    deviation : float
        Standard deviation at white.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return x + x * rng.normal(0, deviation, x.shape)
