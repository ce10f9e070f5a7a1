"""Decoding of one image file: upright, 8 bits a channel, grey or RGB or RGBA, of the size declared."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from advbench.core.reading import Reading

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOST = 1 << 27  # pixels of one image; more is treated as an attempt to fill the memory
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of more than 8 bits
PNG, DEPTH = b"\x89PNG\r\n\x1a\n", 24  # signature, and position in the header of the bits a channel


class Unreadable(Exception):
    """An image can't be read; the message says why."""


class Undeclared(Exception):
    """An intact image needs a declaration on how to read it; the message says which."""


def decode(content: bytes, reading: Reading) -> np.ndarray:
    """Decode one image and bring it to size.

    An EXIF rotation is applied, a palette looked up, transparency that is opaque everywhere dropped. What is grey
    stays grey.

    Parameters
    ----------
    content : bytes
        A PNG, JPEG, WebP or BMP file.
    reading : Reading
        With `resize`, `crop`, `interpolation` and `transparent`.

    Returns
    -------
    np.ndarray
        uint8 `[H, W, 1]` or `[H, W, 3]`; `[H, W, 4]` where alpha is to be kept.

    Raises
    ------
    Unreadable
        When it is no image, or damaged.
    Undeclared
        When it has 16 bits a channel, or is transparent and `reading` does not say how to treat that.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a broken EXIF block is not a broken image
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MOST:
                    raise Unreadable(f"{image.width:,} x {image.height:,} pixels are more than the {MOST:,} allowed")
                if getattr(image, "n_frames", 1) > 1:
                    raise Unreadable(f"it is a film of {getattr(image, 'n_frames', 0)} pictures")
                if image.mode in DEEP or (content.startswith(PNG) and content[DEPTH] == 16):
                    raise Undeclared("16 bits a channel: only 8 are known, convert it first")
                upright = ImageOps.exif_transpose(image)
                pixels = np.asarray(sized(_plain(upright, reading), reading))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise Unreadable(_reason(error, content)) from None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def sized(image: Image.Image, reading: Reading) -> Image.Image:
    """Resize and crop, as torchvision's `Resize(int)` and `CenterCrop(int)` do on Pillow images, and timm too.

    Parameters
    ----------
    image : Image.Image
        Image of any size.
    reading : Reading
        Its `resize`, `crop` and `interpolation` are used.

    Returns
    -------
    Image.Image
        Image of the declared size.
    """
    if reading.resize is not None:
        short, long = sorted(image.size)
        far = int(reading.resize * long / short)
        size = (reading.resize, far) if image.width <= image.height else (far, reading.resize)
        if size != image.size:
            image = image.resize(size, Image.Resampling[reading.interpolation.upper()])
    if reading.crop is not None:
        image = _cropped(image, reading.crop)
    return image


def _cropped(image: Image.Image, side: int) -> Image.Image:
    """Crop the middle; a smaller image is centred in a black one."""
    wide, high = max(side - image.width, 0), max(side - image.height, 0)
    if wide or high:
        larger = Image.new(image.mode, (image.width + wide, image.height + high))
        larger.paste(image, (wide // 2, high // 2))
        image = larger
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def _plain(image: Image.Image, reading: Reading) -> Image.Image:
    """Convert an image to mode L, RGB or RGBA."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or image.has_transparency_data:
        grey, image = image.mode in ("L", "LA", "La", "1"), image.convert("RGBA")
        if reading.transparent == "keep":
            return image
        if image.getchannel(3).getextrema() != (255, 255):
            if reading.transparent is None:
                raise Undeclared("transparent: --transparent black or white says what shines through, keep keeps it")
            image = Image.alpha_composite(Image.new("RGBA", image.size, reading.transparent), image)
        return image.convert("L" if grey else "RGB")
    if reading.transparent == "keep":
        return image.convert("RGBA")
    if image.mode in ("L", "1"):
        return image.convert("L")
    return image.convert("RGB")


def _reason(error: BaseException, content: bytes) -> str:
    if not content:
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is no PNG, JPEG, WebP or BMP image"
    return " ".join(str(error).split()) or type(error).__name__
