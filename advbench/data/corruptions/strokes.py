"""Lines drawn over grey images, and edges of images; float `[H, W, 1]`."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage  # type: ignore[import-untyped]

from advbench.data.corruptions.pixels import Pixels

REACH = 2.3  # pixels at which a stroke has faded


def stripe(x: Pixels, width: int, rng: Generator) -> Pixels:
    """Invert the image along both sides.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, 1]`.
    width : int
        Width of each stripe in pixels.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    column = np.arange(x.shape[1])[None, :, None]
    return np.where((column < width) | (column >= x.shape[1] - width), 1 - x, x)


def dotted_line(x: Pixels, count: int, rng: Generator) -> Pixels:
    """Draw dotted lines from side to side.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, 1]`.
    count : int
        Number of lines.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    height, width, _ = x.shape
    column = np.arange(width)
    for start, end in rng.integers(0, height - 1, (count, 2)):
        line = _stroke(x.shape, start + (end - start) * column / (width - 1))
        x = x + line * (column // 2 % 2 == 1)[None, :, None]
    return np.minimum(x, 1)


def zigzag(x: Pixels, count: int, rng: Generator) -> Pixels:
    """Draw zigzags from side to side, of four pixels a tooth.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, 1]`.
    count : int
        Number of zigzags.
    rng : Generator
        Random generator.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    height, width, _ = x.shape
    column = np.arange(width)
    inside = ((column >= 2) & (column < width - 2))[None, :, None]
    for start in rng.integers(0, height - 1, count):
        tilt = rng.integers(-5, 5) / (width - 5)
        teeth = 2 * (2 * np.abs((column - 2) / 4 % 2 - 1) - 1)
        x = x + _stroke(x.shape, start + tilt * (column - 2) + teeth) * inside
    return np.minimum(x, 1)


def canny_edges(x: Pixels, share: float, rng: Generator) -> Pixels:
    """Mix an image with its edges (Canny 1986, doi 10.1109/TPAMI.1986.4767851).

    Parameters
    ----------
    x : Pixels
        Image `[H, W, 1]`.
    share : float
        Share of the edges.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    return (1 - share) * x + share * _edges(x[..., 0])[..., None]


def _stroke(shape: tuple[int, ...], rows: Pixels) -> Pixels:
    """Return brightness around a height in each column, fading logarithmically."""
    far = np.abs(np.arange(shape[0])[:, None] - rows)
    fading: Pixels = np.clip(1 + np.log(np.maximum(1 - far / REACH, 1e-9)), 0, 1)
    return fading[..., None]


def _edges(x: Pixels, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> Pixels:
    """Find ridges of the smoothed gradient above `low` that are connected to one above `high`."""
    smooth = ndimage.gaussian_filter(x, sigma, mode="constant")
    slope = np.stack([ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)])
    size = np.hypot(*slope)
    towards = slope / np.maximum(size, 1e-9)
    here = np.indices(x.shape)
    ahead, behind = (ndimage.map_coordinates(size, here + way * towards, order=1) for way in (1, -1))
    ridge = (size >= ahead) & (size > behind) & (size > low)
    groups, count = ndimage.label(ridge, np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[groups[ridge & (size > high)]] = True
    return np.asarray(strong[groups], float)
