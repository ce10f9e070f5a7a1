"""Geometric distortions, linearly interpolated, on float images `[H, W, C]`."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage  # type: ignore[import-untyped]

from advbench.data.corruptions.pixels import Pixels


def shear(x: Pixels, angle: float, rng: Generator) -> Pixels:
    """Shear to either side.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    angle : float
        In radians.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    angle *= rng.choice([-1, 1])
    return _warped(x, [[np.cos(angle), 0], [-np.sin(angle), 1]])


def scale(x: Pixels, factor: float, rng: Generator) -> Pixels:
    """Shrink about the centre.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    factor : float
        At most 1.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return _warped(x, [[1 / factor, 0], [0, 1 / factor]])


def rotate(x: Pixels, angle: float, rng: Generator) -> Pixels:
    """Rotate about the centre, either way.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    angle : float
        In radians.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    cos, sin = np.cos(angle), np.sin(angle) * rng.choice([-1, 1])
    return _warped(x, [[cos, sin], [-sin, cos]])


def translate(x: Pixels, pixels: int, rng: Generator) -> Pixels:
    """Shift by the same number of pixels along both axes, either way.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    pixels : int
        Length of the shift.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    down, across = pixels * rng.choice([-1, 1], 2)
    return np.asarray(ndimage.shift(x, (down, across, 0), order=1, mode="constant"))


def elastic(x: Pixels, how: tuple[float, float, float], rng: Generator) -> Pixels:
    """Apply a random affine map, then a smooth random displacement; strengths are shares of the side.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, float, float]
        Strength and smoothness of the displacement, and strength of the affine map.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    side = x.shape[0]
    strength, sigma, jitter = (side * share for share in how)
    corner = np.array([[1, 1, 1], [1, -1, 1], [-1, -1, 1]]) * [side // 3, side // 3, 1.0]
    moved = corner[:, :2] + rng.uniform(-jitter, jitter, (3, 2))
    homogeneous = np.column_stack([moved, np.ones(3)])
    back = np.linalg.solve(homogeneous, corner[:, :2])  # source of each pixel, [3, 2]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in x.shape[:2]), indexing="ij"), -1).astype(float)
    middle = np.array(x.shape[:2]) // 2
    bend = rng.uniform(-1, 1, grid.shape)
    if strength:
        grid += strength * ndimage.gaussian_filter(bend, (sigma, sigma, 0), mode="reflect", truncate=3)
    source = (grid - middle) @ back[:2] + back[2] + middle
    return _sampled(x, source, "mirror")


def _warped(x: Pixels, matrix: list[list[float]]) -> Pixels:
    """Sample each pixel at `matrix` times its position (down, across) from the centre; black beyond the border."""
    middle = (np.array(x.shape[:2]) - 1) / 2
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in x.shape[:2]), indexing="ij"), -1) - middle
    return _sampled(x, grid @ np.array(matrix).T + middle, "constant")


def _sampled(x: Pixels, source: Pixels, mode: str) -> Pixels:
    places = np.moveaxis(source, -1, 0)
    channels = [ndimage.map_coordinates(x[..., c], places, order=1, mode=mode) for c in range(x.shape[-1])]
    return np.stack(channels, -1)
