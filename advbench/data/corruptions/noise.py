"""Noise on every value, in float images `[H, W, C]`."""

import numpy as np
from numpy.random import Generator

from advbench.data.corruptions.pixels import Pixels


def gaussian(x: Pixels, deviation: float, rng: Generator) -> Pixels:
    """Normal noise, as in low light."""
    return x + rng.normal(0, deviation, x.shape)


def shot(x: Pixels, photons: float, rng: Generator) -> Pixels:
    """Poisson noise of so many photons at white."""
    return rng.poisson(x * photons) / photons


def impulse(x: Pixels, share: float, rng: Generator) -> Pixels:
    """Values that turn black or white."""
    return np.where(rng.random(x.shape) < share, rng.integers(0, 2, x.shape), x)


def speckle(x: Pixels, deviation: float, rng: Generator) -> Pixels:
    """Normal noise in proportion to the value."""
    return x + x * rng.normal(0, deviation, x.shape)
