"""Arrays of any library, checked: what is meant is taken, and what can't be is told in one line."""

import jax.numpy as jnp
import numpy as np
import pytest

from advbench.core.errors import UsageError
from advbench.data import Dataset

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 10, 8, 3)).astype(np.uint8)
LABELS = np.arange(6) % 3


@pytest.mark.parametrize(
    ("images", "labels", "options"),
    [
        (IMAGES, LABELS, {}),
        (IMAGES.transpose(0, 3, 1, 2), LABELS, {}),
        (IMAGES.astype(np.float32) / 255, LABELS.astype(np.uint8)[:, None], {}),
        (jnp.asarray(IMAGES), jnp.asarray(LABELS), {}),
        (IMAGES.tolist() and IMAGES / 255.0, LABELS.tolist(), {"layout": "nhwc"}),
    ],
)
def test_every_form_is_the_same_data(images, labels, options):
    data = Dataset.from_arrays(images, labels, ["a", "b", "c"], name="mine", **options)
    np.testing.assert_array_equal(data.images, IMAGES)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert (data.images.dtype, data.labels.dtype, data.shape) == (np.uint8, np.int32, (10, 8, 3))
    assert (data.name, data.classes, data.notes) == ("mine", ("a", "b", "c"), ())
    assert data.digest == Dataset.from_arrays(IMAGES, LABELS).digest


def test_three_axes_are_grey_images():
    assert Dataset.from_arrays(IMAGES[..., 0], LABELS).shape == (10, 8, 1)
    assert Dataset.from_arrays(IMAGES[..., 0], LABELS, layout="nchw").shape == (10, 8, 1)


def test_floats_between_the_levels_are_rounded_and_it_is_said():
    data = Dataset.from_arrays(np.full((2, 6, 5, 1), 0.5), [0, 1])
    assert (data.images == 128).all() and "256 levels" in data.notes[0]


@pytest.mark.parametrize(
    ("images", "labels", "options", "words"),
    [
        (IMAGES.astype(float), LABELS, {}, "outside .0, 1.: divide by 255"),
        (IMAGES / 127.5 - 1, LABELS, {}, "undo their normalisation"),
        (np.where(IMAGES > 250, np.nan, 0.5), LABELS, {}, "NaN"),
        (IMAGES.astype(np.int64), LABELS, {}, "int64"),
        (IMAGES > 100, LABELS, {}, "bool"),
        (IMAGES[0], LABELS, {}, "10 images but 6 labels"),
        (IMAGES[:, :, :, :2], LABELS, {}, "neither"),
        (IMAGES[:, :3, :, :], LABELS, {}, "layout="),
        (IMAGES[:0], LABELS, {}, "none empty"),
        (IMAGES, LABELS, {"layout": "nwhc"}, "nhwc or nchw"),
        (IMAGES, LABELS, {"layout": "nchw"}, "8 channels|channels: 1, 3 and 4|10 channels"),
        ([IMAGES[0], IMAGES[1, :5]], [0, 1], {}, "no array|several sizes"),
        (IMAGES, np.eye(3)[LABELS], {}, "one-hot"),
        (IMAGES, LABELS.astype(float), {}, "float64: give class numbers"),
        (IMAGES, LABELS - 1, {}, "-1 to 1"),
        (IMAGES, LABELS[:5], {}, "6 images but 5 labels"),
        (IMAGES, [], {}, "at least one"),
        (IMAGES, LABELS, {"names": ["a", "b"]}, "label 2 has no name"),
        (IMAGES, LABELS, {"names": ["a", "b", "a"]}, "two classes are called 'a'"),
    ],
)
def test_what_is_no_data_is_told_in_one_line(images, labels, options, words):
    with pytest.raises(UsageError, match=words) as error:
        Dataset.from_arrays(images, labels, **options)
    assert "\n" not in str(error.value)


def test_a_thousand_classes_and_four_channels():
    data = Dataset.from_arrays(np.zeros((2, 5, 6, 4), np.uint8), [0, 999])
    assert len(data.classes) == 1000 and data.shape == (5, 6, 4)
