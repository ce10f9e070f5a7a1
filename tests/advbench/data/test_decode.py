"""One image at a time: every format and mode that people have, and the sizes that torchvision's transforms make."""

import io

import numpy as np
import pytest
from PIL import Image

from advbench.core.errors import UsageError
from advbench.core.reading import Reading
from advbench.data.decode import Undeclared, Unreadable, decode

RGB = np.random.default_rng(0).integers(0, 256, (9, 14, 3)).astype(np.uint8)
PLAIN = Reading()


def packed(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_come_back_bit_for_bit(kind, options):
    np.testing.assert_array_equal(decode(packed(Image.fromarray(RGB), kind, **options), PLAIN), RGB)


def test_jpeg_is_as_pillow_decodes_it():
    content = packed(Image.fromarray(RGB), "JPEG", quality=80)
    np.testing.assert_array_equal(decode(content, PLAIN), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_stays_grey(mode):
    grey = Image.fromarray(RGB[..., 0]).convert(mode)
    np.testing.assert_array_equal(decode(packed(grey), PLAIN), np.asarray(grey.convert("L"))[..., None])


def test_palettes_are_looked_up():
    palette = Image.fromarray(RGB).quantize(7)
    np.testing.assert_array_equal(decode(packed(palette), PLAIN), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotations_are_undone(orientation):
    """The image that a viewer shows, made by NumPy from the definition of the eight orientations."""
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(packed(Image.fromarray(RGB), exif=exif), PLAIN), upright)


def rgba(alpha):
    return Image.fromarray(np.concatenate([RGB, np.broadcast_to(np.uint8(alpha), (9, 14, 1))], -1))


def test_opaque_alpha_is_dropped_and_transparency_declared():
    np.testing.assert_array_equal(decode(packed(rgba(255)), PLAIN), RGB)
    clear = packed(rgba(0))
    with pytest.raises(Undeclared, match="--transparent"):
        decode(clear, PLAIN)
    assert (decode(clear, Reading(transparent="black")) == 0).all()
    assert (decode(clear, Reading(transparent="white")) == 255).all()
    np.testing.assert_array_equal(decode(clear, Reading(transparent="keep"))[..., 3], 0)
    assert decode(packed(Image.fromarray(RGB)), Reading(transparent="keep")).shape == (9, 14, 4)
    half = decode(packed(rgba(128)), Reading(transparent="white")).astype(float)
    assert np.abs(half - (RGB * (128 / 255) + 255 * (127 / 255))).max() <= 1


def test_sixteen_bits_are_named_whatever_their_channels():
    with pytest.raises(Undeclared, match="16 bits"):
        decode(packed(Image.fromarray(RGB[..., 0].astype(np.uint16) * 257)), PLAIN)
    content = bytearray(packed(Image.fromarray(RGB)))
    content[24] = 16  # the depth in the header: Pillow would drop the lower bytes of such an image
    with pytest.raises((Undeclared, Unreadable)):
        decode(bytes(content), PLAIN)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"no image", "no PNG"),
        (packed(Image.fromarray(RGB))[:60], "."),
        (packed(Image.fromarray(RGB), "GIF"), "no PNG"),
    ],
)
def test_what_is_no_image_says_why(content, words):
    with pytest.raises(Unreadable, match=words):
        decode(content, PLAIN)


def test_films_and_bombs_are_refused(monkeypatch):
    film = packed(Image.fromarray(RGB), save_all=True, append_images=[Image.fromarray(RGB[::-1].copy())])
    with pytest.raises(Unreadable, match="2 pictures"):
        decode(film, PLAIN)
    monkeypatch.setattr("advbench.data.decode.MOST", 100)
    with pytest.raises(Unreadable, match="14 x 9"):
        decode(packed(Image.fromarray(RGB)), PLAIN)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("tall", "wide", "size"), [(30, 47, 16), (47, 30, 16), (20, 20, 33), (16, 25, 16)])
def test_resize_is_the_shorter_side_and_pillows_to_the_last_bit(tall, wide, size, interpolation):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (tall, wide, 3)).astype(np.uint8))
    # The size that torchvision's Resize(int) and timm's give: the longer side in proportion, rounded down.
    new = (size, int(size * tall / wide)) if wide <= tall else (int(size * wide / tall), size)
    expected = np.asarray(image.resize(new, getattr(Image.Resampling, interpolation.upper())))
    np.testing.assert_array_equal(decode(packed(image), Reading(resize=size, interpolation=interpolation)), expected)


@pytest.mark.parametrize(("tall", "wide"), [(9, 14), (10, 13), (5, 14), (5, 4)])
def test_crop_is_the_middle_and_pads_what_is_smaller_with_black(tall, wide):
    pixels = np.random.default_rng(2).integers(1, 256, (tall, wide, 3)).astype(np.uint8)
    found = decode(packed(Image.fromarray(pixels)), Reading(crop=8))
    padded = np.pad(pixels, [((max(8 - n, 0)) // 2, (max(8 - n, 0) + 1) // 2) for n in (tall, wide)] + [(0, 0)])
    top, left = (round((n - 8) / 2) for n in padded.shape[:2])  # as CenterCrop rounds: halves to even
    np.testing.assert_array_equal(found, padded[top : top + 8, left : left + 8])


@pytest.mark.parametrize("wrong", [{"resize": 0}, {"crop": 9999}, {"interpolation": "cubic"}, {"transparent": "pink"}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Reading(**wrong)


def test_a_record_holds_what_was_declared_alone():
    reading = Reading(resize=20, classes=("a", "b"))
    assert Reading().record() == {} and not Reading()
    assert reading.record() == {"resize": 20, "classes": ["a", "b"]} and Reading.of(reading.record()) == reading
    with pytest.raises(UsageError, match="--resize"):
        Reading.parse(interpolation="bicubic")
    for damaged in ({"resize": "large"}, {"classes": 3}):
        with pytest.raises(UsageError):
            Reading.of(damaged)
