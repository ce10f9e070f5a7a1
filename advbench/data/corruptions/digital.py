"""Light, colour and compression, on float images `[H, W, C]`."""

from io import BytesIO

import numpy as np
from numpy.random import Generator
from PIL import Image

from advbench.data.corruptions.pixels import Pixels


def brightness(x: Pixels, more: float, rng: Generator) -> Pixels:
    """Raise the HSV value, at the same hue and saturation.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    more : float
        Increment of the value.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    value: Pixels = x.max(-1, keepdims=True)
    raised = np.minimum(value + more, 1)
    return np.where(value > 0, x * raised / np.maximum(value, 1e-9), raised)


def saturate(x: Pixels, how: tuple[float, float], rng: Generator) -> Pixels:
    """Change the HSV saturation, at the same hue and value; grey has the hue of red, as in HSV.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    how : tuple[float, float]
        Factor and increment of the saturation.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    value: Pixels = x.max(-1, keepdims=True)
    low: Pixels = x.min(-1, keepdims=True)
    saturation = (value - low) / np.maximum(value, 1e-9)
    wanted = np.clip(saturation * how[0] + how[1], 0, 1)
    red = value * (1 - wanted * np.array([0, 1, 1]))
    return np.where(saturation > 0, value - (value - x) * wanted / np.maximum(saturation, 1e-9), red)


def contrast(x: Pixels, share: float, rng: Generator) -> Pixels:
    """Move values towards each channel's mean.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    share : float
        Share of the contrast that is kept.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    mean: Pixels = x.mean((0, 1), keepdims=True)
    return mean + share * (x - mean)


def jpeg(x: Pixels, quality: int, rng: Generator) -> Pixels:
    """Compress as JPEG and decompress.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    quality : int
        Of JPEG, from 1 to 95.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    file = BytesIO()
    _picture(x).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(x.shape) / 255.0


def pixelate(x: Pixels, share: float, rng: Generator) -> Pixels:
    """Shrink and enlarge, by boxes.

    Parameters
    ----------
    x : Pixels
        Image `[H, W, C]`.
    share : float
        Size of the smaller image.
    rng : Generator
        Unused.

    Returns
    -------
    Pixels
        Image of the same shape.
    """
    height, width, _ = x.shape
    small = _picture(x).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX)).reshape(x.shape) / 255.0


def _picture(x: Pixels) -> Image.Image:
    return Image.fromarray(np.round(255 * x).astype(np.uint8).squeeze())
