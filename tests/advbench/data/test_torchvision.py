"""Images brought to size as torchvision and timm bring them, to the last bit."""

import importlib
import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from advbench.core.reading import INTERPOLATIONS, Reading
from advbench.data import load
from advbench.data.decode import decode

pytestmark = pytest.mark.integration(needs="torchvision")
SIZES = ((30, 47), (47, 30), (20, 20), (16, 25), (33, 100), (7, 5), (1, 3))  # height, width
CROPS = (None, 1, 8, 15, 16, 40)


@pytest.fixture(scope="module")
def vision():
    """torchvision; a build for CUDA can't load its operators beside PyTorch's CPU build, and no transform needs one."""
    import torch

    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision.datasets")
    return importlib.import_module("torchvision")


def drawn(tall, wide, mode):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(np.random.default_rng(tall * wide).integers(0, 256, (tall, wide, *channels), np.uint8))


def ours(image, reading):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return decode(buffer.getvalue(), reading)


def theirs(vision, reading):
    made = vision.transforms
    steps = []
    if reading.resize is not None:
        steps.append(made.Resize(reading.resize, made.InterpolationMode(reading.interpolation)))
    if reading.crop is not None:
        steps.append(made.CenterCrop(reading.crop))
    whole = made.Compose(steps)
    return lambda image: np.atleast_3d(np.asarray(whole(image)))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_size_filter_and_crop_is_torchvisions(vision, interpolation):
    for (tall, wide), resize, crop in product(SIZES, (None, 1, 15, 16, 33), CROPS):
        image = drawn(tall, wide, "RGB")
        reading = Reading(resize=resize, crop=crop, interpolation=interpolation)
        np.testing.assert_array_equal(ours(image, reading), theirs(vision, reading)(image), f"{image.size} {reading}")


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_images_and_transparent_ones_are_too(vision, mode, interpolation):
    for (tall, wide), crop in product(SIZES, CROPS):
        image = drawn(tall, wide, mode)
        transparent = "keep" if mode == "RGBA" else None
        reading = Reading(resize=15, crop=crop, interpolation=interpolation, transparent=transparent)
        np.testing.assert_array_equal(ours(image, reading), theirs(vision, reading)(image), f"{image.size} {reading}")


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp"])
def test_a_folder_is_read_as_torchvision_reads_it(vision, tmp_path, kind):
    for at, (name, size) in enumerate(product(("b", "a", "A", "10", "9"), SIZES)):
        path = tmp_path / name / f"{at}.{kind}"
        path.parent.mkdir(exist_ok=True)
        drawn(*size, "RGB").save(path)
    reading = Reading(resize=18, crop=16, interpolation="bicubic")
    found = load(str(tmp_path), "test", reading=reading)
    known = vision.datasets.ImageFolder(str(tmp_path), theirs(vision, reading))
    assert tuple(found.classes) == tuple(known.classes)
    assert found.labels.tolist() == known.targets
    np.testing.assert_array_equal(found.images[:], np.stack([image for image, _ in known]))


@pytest.mark.parametrize(("side", "share"), [(16, 0.875), (16, 0.9), (15, 0.95), (16, 1.0)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_timms_share_of_the_crop_is_the_crop_by_the_resized_side(vision, side, share, interpolation):
    """`crop_pct` of a timm model: the crop of `side` pixels is cut from `side / crop_pct`, rounded down."""
    timm = importlib.import_module("timm.data")
    transform = timm.create_transform(side, interpolation=interpolation, crop_pct=share, use_prefetcher=True)
    reading = Reading(resize=int(side / share), crop=side, interpolation=interpolation)
    for tall, wide in SIZES:
        image = drawn(tall, wide, "RGB")
        expected = np.asarray(transform(image)).transpose(1, 2, 0)
        np.testing.assert_array_equal(ours(image, reading), expected, f"{image.size}")
