"""Weather, on float images `[H, W, C]`."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage  # type: ignore[import-untyped]

from advbench.data.corruptions.blur import streak, zoomed
from advbench.data.corruptions.pixels import Pixels

WATER = np.array([175, 238, 238]) / 255  # pale turquoise
MUD = np.array([63, 42, 20]) / 255
ICE = np.array([0.78, 0.88, 1.0])


def fog(x: Pixels, how: tuple[float, float], rng: Generator, size: int = 32) -> Pixels:
    """Add a fractal of mist; `size` pixels, a power of two, contain its whole range.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, float]
        Density, and decay of the fractal.
    rng : Generator
        Random generator.
    size : int, default 32
        Side of the fractal.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    dense, decay = how
    white = float(x.max())
    mist = fractal(size, decay, rng)[: x.shape[0], : x.shape[1], None]
    return (x + dense * mist) * white / (white + dense)


def frost(x: Pixels, how: tuple[float, float], rng: Generator) -> Pixels:
    """Add crystals: the ridges of a fractal, icy in colour.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, float]
        Shares of the image and of the crystals.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    keep, ice = how
    size = 1 << int(np.ceil(np.log2(max(x.shape[:2]))))
    ridges = (1 - np.abs(2 * fractal(size, 1.5, rng) - 1)) ** 2
    fine: Pixels = ndimage.gaussian_filter(rng.random(ridges.shape), 0.6, mode="wrap")
    crystals = np.clip(ridges * (0.5 + fine), 0, 1)[: x.shape[0], : x.shape[1], None]
    return keep * x + ice * crystals * (ICE if x.shape[-1] == 3 else 1)


def snow(x: Pixels, how: tuple[float, float, float, float, int, float, float], rng: Generator) -> Pixels:
    """Add falling flakes, twice, to an image whitened a little.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, float, float, float, int, float, float]
        Mean, deviation, zoom and threshold of the flakes, radius and deviation of their streaks, share of the image.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    mean, deviation, zoom, threshold, radius, sigma, keep = how
    flakes = zoomed(rng.normal(mean, deviation, (*x.shape[:2], 1)), zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = streak(flakes, radius, sigma, rng.uniform(-135, -45))
    grey = x @ [0.299, 0.587, 0.114] if x.shape[-1] == 3 else x[..., 0]
    white = keep * x + (1 - keep) * np.maximum(x, 1.5 * grey[..., None] + 0.5)
    return white + flakes + flakes[::-1, ::-1]


def spatter(x: Pixels, how: tuple[float, float, float, float, float, str], rng: Generator) -> Pixels:
    """Add drops of water or mud on the lens.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, float, float, float, float, str]
        Mean, deviation, smoothness and threshold of the liquid, its strength, and "water" or "mud".
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    mean, deviation, sigma, threshold, strength, what = how
    liquid: Pixels = ndimage.gaussian_filter(rng.normal(mean, deviation, x.shape[:2]), sigma, mode="nearest")
    if what == "mud":
        cover: Pixels = ndimage.gaussian_filter((liquid > threshold).astype(float), strength, mode="nearest")
        cover = np.where(cover < 0.8, 0, cover)[..., None]
        return x * (1 - cover) + cover * (MUD if x.shape[-1] == 3 else MUD[:1])
    # Water is bright where it slopes towards the light.
    depth: Pixels = ndimage.gaussian_filter(np.where(liquid > threshold, liquid, 0), 0.5, mode="nearest")
    lit = np.maximum(ndimage.sobel(depth, 0) + ndimage.sobel(depth, 1), 0) + 0.5 * depth
    gleam: Pixels = strength * lit / max(lit.max(), 1e-9)
    return x + gleam[..., None] * (WATER if x.shape[-1] == 3 else 1)


def fractal(size: int, decay: float, rng: Generator) -> Pixels:
    """Make a random landscape on a torus by midpoint displacement.

    Each halving of the grid displaces its new points by `decay` squared times less.

    Parameters
    ----------
    size : int
        Side, a power of two.
    decay : float
        Roughness: larger is smoother.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        `[size, size]` from 0 to 1.
    """
    land, reach = np.zeros((1, 1)), 1.0
    while len(land) < size:
        n = 2 * len(land)
        finer = np.zeros((n, n))
        finer[::2, ::2] = land
        right, down = np.roll(land, -1, 1), np.roll(land, -1, 0)
        middle = (land + right + down + np.roll(right, -1, 0)) / 4
        finer[1::2, 1::2] = middle = middle + reach * rng.uniform(-1, 1, land.shape)
        above, left = np.roll(middle, 1, 0), np.roll(middle, 1, 1)
        finer[::2, 1::2] = (land + right + middle + above) / 4 + reach * rng.uniform(-1, 1, land.shape)
        finer[1::2, ::2] = (land + down + middle + left) / 4 + reach * rng.uniform(-1, 1, land.shape)
        land, reach = finer, reach / decay**2
    land = land - float(land.min())
    return land / float(land.max())
