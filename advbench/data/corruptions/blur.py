"""Blur, on float images `[H, W, C]`."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage  # type: ignore[import-untyped]

from advbench.data.corruptions.pixels import Pixels


def gaussian(x: Pixels, sigma: float, rng: Generator) -> Pixels:
    """Convolve with a Gaussian, the border repeated.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    sigma : float
        Standard deviation in pixels.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return np.asarray(ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest"))


def defocus(x: Pixels, how: tuple[float, float], rng: Generator) -> Pixels:
    """Convolve with a disk, softened by a narrow Gaussian.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, float]
        Radius of the disk, and deviation of the Gaussian.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    radius, soft = how
    across = np.arange(-8, 9)
    disk = (across[:, None] ** 2 + across**2 <= radius**2).astype(float)
    bell = np.exp(-0.5 * (np.arange(-1, 2) / soft) ** 2)
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(bell, bell) / bell.sum() ** 2, mode="constant")
    return np.asarray(ndimage.convolve(x, kernel[..., None], mode="mirror"))


def glass(x: Pixels, how: tuple[float, int, int], rng: Generator) -> Pixels:
    """Replace pixels by near ones, in rounds, between two Gaussians.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, int, int]
        Deviation of the Gaussians, largest shift, number of rounds.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    sigma, reach, rounds = how
    height, width, _ = x.shape
    down, across = np.indices((height, width))
    inside = (np.minimum(down, across) > reach) & (down <= height - reach) & (across <= width - reach)
    x = gaussian(x, sigma, rng)
    for _ in range(rounds):
        move = np.where(inside, rng.integers(-reach, reach, (2, height, width)), 0)
        x = x[down + move[0], across + move[1]]
    return gaussian(x, sigma, rng)


def frosted_glass(x: Pixels, how: tuple[float, int, int], rng: Generator) -> Pixels:
    """Exchange half of all pixels with near ones, in rounds, between two Gaussians.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, int, int]
        Deviation of the Gaussians, largest shift, number of rounds.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    sigma, reach, rounds = how
    height, width, channels = x.shape
    places = np.arange(height * width).tolist()
    for _ in range(rounds):
        moves = rng.integers(-reach, reach, (height, width, 2)) @ [width, 1]
        steps = np.where(rng.random((height, width)) < 0.5, moves, 0).tolist()
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                here = h * width + w
                there = here + steps[h][w]
                places[here], places[there] = places[there], places[here]
    shuffled = gaussian(x, sigma, rng).reshape(-1, channels)[places].reshape(x.shape)
    return gaussian(shuffled, sigma, rng)


def motion(x: Pixels, how: tuple[int, float], rng: Generator) -> Pixels:
    """Blur along a streak within 45 degrees of the horizontal.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[int, float]
        Radius and deviation of the streak.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return streak(x, *how, rng.uniform(-45, 45))


def streak(x: Pixels, radius: int, sigma: float, degrees: float) -> Pixels:
    """Convolve with a one-sided Gaussian of 2 radius + 1 pixels along a direction, the border repeated.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    radius : int
        Half length in pixels.
    sigma : float
        Standard deviation in pixels.
    degrees : float
        Direction, from the horizontal.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    along = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (along / sigma) ** 2)
    angle = np.deg2rad(degrees)
    down, across = np.round(along * np.sin(angle)).astype(int), np.round(along * np.cos(angle)).astype(int)
    height, width, _ = x.shape
    rows = np.clip(np.arange(height) + down[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) + across[:, None], 0, width - 1)
    shifted = x[rows[:, :, None], columns[:, None, :]]
    return np.asarray(np.tensordot(weights / weights.sum(), shifted, 1))


def zoom(x: Pixels, most: float, rng: Generator) -> Pixels:
    """Average over zooms from 1 to nearly `most`, by hundredths.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    most : float
        Largest factor.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    factors = np.arange(1, most, 0.01)
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def zoomed(x: Pixels, factor: float) -> Pixels:
    """Enlarge about the centre.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    factor : float
        At least 1.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    middle = (np.array(x.shape[:2]) - 1) / 2
    offset = [*(middle - middle / factor), 0]
    return np.asarray(ndimage.affine_transform(x, [1 / factor, 1 / factor, 1], offset, order=1, mode="nearest"))
