"""Input defense: JPEG compression and decompression in JAX, which round where libjpeg rounds."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.wrappers.base import Shape, Transform, static

# ITU-T T.81, Annex K: the quantisation tables of quality 50, rows of 8
LUMINANCE = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
CHROMINANCE = """17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99"""

_K = np.arange(8)
DCT = np.cos((2 * _K + 1) * _K[:, None] * np.pi / 16) * np.where(_K[:, None], np.sqrt(2), 1)  # times its inverse: 8


@static
@dataclass(frozen=True)
class Jpeg(Transform):
    """Compress every image as JPEG and read it back (as a defense: Dziugaite et al. 2016, arXiv 1608.00853).

    The output equals that of libjpeg-turbo, except for ties in rounding. Adaptive attacks differentiate the identity:
    without rounding, the transform and its inverse cancel, except for the blur of chroma subsampling.

    Parameters
    ----------
    quality : int
        From 1 to 100; scales the standard quantisation tables as libjpeg does.
    subsample : bool
        Halve the resolution of colour (4:2:0), as is usual.
    """

    paper = "Dziugaite et al. 2016, arXiv 1608.00853"
    quality: int = 75
    subsample: bool = True

    def check(self, shape: Shape) -> None:
        """Refuse a quality outside 1 to 100, and images neither grey nor RGB."""
        if not 1 <= self.quality <= 100:
            raise ValueError(f"jpeg: quality={self.quality} should be from 1 to 100")
        if shape[2] not in (1, 3):
            raise ValueError(f"jpeg: images should have 1 channel (grey) or 3 (RGB), not {shape[2]}")

    def apply(self, x: Array) -> Array:
        """Compress and decompress images `[B, H, W, C]`; the output is in multiples of 1/255."""
        pixels = jnp.round(255 * jnp.clip(x, 0, 1))
        if x.shape[3] == 1:
            return _coded(pixels[..., 0], table(LUMINANCE, self.quality))[..., None] / 255
        luma, *chroma = _from_rgb(pixels)
        luma = _coded(luma, table(LUMINANCE, self.quality))
        colours = table(CHROMINANCE, self.quality)
        if self.subsample:
            halves = [_coded(_halved(plane), colours) for plane in chroma]
            chroma = [_doubled(half)[:, : x.shape[1], : x.shape[2]] for half in halves]
        else:
            chroma = [_coded(plane, colours) for plane in chroma]
        return _to_rgb(luma, *chroma) / 255


def table(standard: str, quality: int) -> np.ndarray:
    """Scale a quantisation table to a quality.

    Parameters
    ----------
    standard : str
        The 64 numbers of the table for quality 50.
    quality : int
        Quality from 1 to 100.

    Returns
    -------
    np.ndarray
        float32 `[8, 8]`, whole numbers from 1 to 255.
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    values = np.array(standard.split(), int).reshape(8, 8)
    scaled: np.ndarray = np.clip((values * scale + 50) // 100, 1, 255)
    return scaled.astype(np.float32)


def _rounded(x: Array) -> Array:
    return jnp.floor(x + 0.5)


def _coded(plane: Array, quantum: np.ndarray) -> Array:
    """Quantise the 8 x 8 blocks of a plane `[B, H, W]` with values 0 to 255; incomplete blocks repeat the edge."""
    batch, height, width = plane.shape
    padded = jnp.pad(plane, ((0, 0), (0, -height % 8), (0, -width % 8)), mode="edge")
    blocks = padded.reshape(batch, padded.shape[1] // 8, 8, padded.shape[2] // 8, 8)
    rows = _rounded(4 * jnp.einsum("bhiwj,vj->bhiwv", blocks - 128, DCT, precision="highest"))  # libjpeg keeps 2 bits
    scaled = _rounded(jnp.einsum("bhiwv,ui->bhuwv", rows, DCT, precision="highest") / 4)  # 8 times the coefficients
    steps = quantum[:, None]
    levels = jnp.sign(scaled) * jnp.floor((jnp.abs(scaled) + 4 * steps) / (8 * steps))  # halves away from zero
    columns = _rounded(4 * jnp.einsum("ui,bhuwv->bhiwv", DCT, levels * steps, precision="highest"))
    decoded = _rounded(jnp.einsum("bhiwv,vj->bhiwj", columns, DCT, precision="highest") / 32)
    whole = jnp.clip(decoded + 128, 0, 255).reshape(padded.shape)
    return whole[:, :height, :width]


def _from_rgb(rgb: Array) -> list[Array]:
    """Convert RGB to Y, Cb and Cr of JFIF, `[B, H, W]` each, whole numbers."""
    red, green, blue = jnp.moveaxis(rgb, -1, 0)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    cb = -0.168735892 * red - 0.331264108 * green + 0.5 * blue + 128
    cr = 0.5 * red - 0.418687589 * green - 0.081312411 * blue + 128
    return [_rounded(y), jnp.ceil(cb - 0.5), jnp.ceil(cr - 0.5)]  # libjpeg rounds halves down for colour


def _to_rgb(y: Array, cb: Array, cr: Array) -> Array:
    cb, cr = cb - 128, cr - 128
    red = y + _rounded(1.402 * cr)
    green = y + _rounded(-0.344136286 * cb - 0.714136286 * cr)
    return jnp.clip(jnp.stack([red, green, y + _rounded(1.772 * cb)], -1), 0, 255)


def _halved(plane: Array) -> Array:
    """Average 2 x 2 pixels; ties are rounded down and up alternately, as in libjpeg, to avoid a bias."""
    _, height, width = plane.shape
    even = jnp.pad(plane, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    sums = even[:, ::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, ::2] + even[:, 1::2, 1::2]
    bias = 1 + np.arange(sums.shape[2]) % 2
    return jnp.floor((sums + bias) / 4)


def _doubled(plane: Array) -> Array:
    """Double the size: each pixel is 3/4 of the nearer and 1/4 of the farther neighbour in both directions."""
    batch, height, width = plane.shape
    rows = jnp.pad(plane, ((0, 0), (1, 1), (0, 0)), mode="edge")
    middle = 3 * rows[:, 1:-1]
    tall = jnp.stack([middle + rows[:, :-2], middle + rows[:, 2:]], 2).reshape(batch, 2 * height, width)
    columns = jnp.pad(tall, ((0, 0), (0, 0), (1, 1)), mode="edge")
    centre = 3 * columns[:, :, 1:-1]
    left, right = centre + columns[:, :, :-2] + 8, centre + columns[:, :, 2:] + 7
    return jnp.floor(jnp.stack([left, right], 3) / 16).reshape(batch, 2 * height, 2 * width)
