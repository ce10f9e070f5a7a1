"""Blur, in float images `[H, W, C]`."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage  # type: ignore[import-untyped]

from advbench.data.corruptions.pixels import Pixels


def gaussian(x: Pixels, sigma: float, rng: Generator) -> Pixels:
    """A Gaussian over pixels, the border repeated."""
    return np.asarray(ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest"))


def defocus(x: Pixels, how: tuple[float, float], rng: Generator) -> Pixels:
    """A disk of some radius, softened by a narrow Gaussian."""
    radius, soft = how
    across = np.arange(-8, 9)
    disk = (across[:, None] ** 2 + across**2 <= radius**2).astype(float)
    bell = np.exp(-0.5 * (np.arange(-1, 2) / soft) ** 2)
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(bell, bell) / bell.sum() ** 2, mode="constant")
    return np.asarray(ndimage.convolve(x, kernel[..., None], mode="mirror"))


def glass(x: Pixels, how: tuple[float, int, int], rng: Generator) -> Pixels:
    """Pixels that take the values of near ones, in rounds, between two Gaussians."""
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
    """Pixels of which every other one, in rounds, changes places with a near one, between two Gaussians."""
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
    """A streak within 45 degrees of the horizontal."""
    return streak(x, *how, rng.uniform(-45, 45))


def streak(x: Pixels, radius: int, sigma: float, degrees: float) -> Pixels:
    """A one-sided Gaussian of 2 radius + 1 pixels along a direction, the border repeated."""
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
    """The mean over zooms from 1 to nearly `most`, by hundredths."""
    factors = np.arange(1, most, 0.01)
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def zoomed(x: Pixels, factor: float) -> Pixels:
    """Enlarged about the centre."""
    middle = (np.array(x.shape[:2]) - 1) / 2
    offset = [*(middle - middle / factor), 0]
    return np.asarray(ndimage.affine_transform(x, [1 / factor, 1 / factor, 1], offset, order=1, mode="nearest"))
