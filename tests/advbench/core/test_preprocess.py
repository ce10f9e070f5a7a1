"""Pixels reach a network in its own order and scale, declared or found out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import Randomised
from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.preprocess import (
    AS_IS,
    LAYOUTS,
    Preprocess,
    arrange,
    prepared,
)
from advbench.models.load import load_model
from advbench.preflight import expected
from advbench.preflight.layout import find_layout

SHAPE = (3, 4, 2)
X = np.random.default_rng(0).random((40, *SHAPE)).astype(np.float32)
AXES = {"n": 0, "h": 1, "w": 2, "c": 3}


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "c" in name])
def test_a_layout_puts_each_pixel_where_its_name_says(layout):
    got = np.asarray(arrange(jnp.asarray(X), layout))
    letters = layout.replace("flat-", "n")
    true = np.einsum(f"nhwc->{letters}", X)
    np.testing.assert_array_equal(got, true.reshape(len(X), -1) if "flat" in layout else true)


@pytest.mark.parametrize(("layout", "shape"), [("nhw", (40, 3, 4)), ("nwh", (40, 4, 3))])
def test_grey_images_lose_their_channel_and_coloured_ones_are_refused(layout, shape):
    assert arrange(jnp.asarray(X[..., :1]), layout).shape == shape
    with pytest.raises(UsageError, match="for grey images"):
        arrange(jnp.asarray(X), layout)


def test_normalisation_is_by_channel_and_its_record_reads_back():
    preprocess = Preprocess.parse("nchw", "0.25,1/2", "1/255")
    np.testing.assert_allclose(
        preprocess(jnp.asarray(X)), ((X - [0.25, 0.5]) * 255).transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5
    )
    assert Preprocess.of(preprocess.record()) == preprocess
    assert Preprocess.of({}) == AS_IS
    assert not AS_IS.record()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("nchv", None, None), "unknown input layout 'nchv'"),
        ((None, "0.5,x", None), "--mean '0.5,x'"),
        ((None, "", None), "--mean ''"),
        ((None, None, "1/0"), "--std '1/0'"),
        ((None, None, "0"), "should be positive"),
        ((None, None, "nan"), "--std 'nan'"),
        ((None, "1e999999999", None), "should be a number"),
    ],
)
def test_what_makes_no_sense_is_refused(typed, message):
    with pytest.raises(UsageError, match=message):
        Preprocess.parse(*typed)
    with pytest.raises(UsageError, match="2 numbers as mean for images of 3 channels"):
        Preprocess.parse(None, "1,2", None)(jnp.ones((1, 2, 2, 3)))


@pytest.mark.parametrize("record", [{"layout": 3}, {"mean": ["x"]}, {"mean": 1}, {"code": "x"}])
def test_an_altered_record_is_one_clear_line(record):
    with pytest.raises(UsageError):
        Preprocess.of(record)


def flat_network(layout):
    """Its classes are which of four pixels, in its own order of axes, is the brightest."""
    w = jax.nn.one_hot(jnp.array([1, 6, 11, 17]), 24).T
    network = jax.tree_util.Partial(lambda w, x: x @ w, w)
    labels = np.argmax(arrange(jnp.asarray(X), layout) @ w, -1)
    return LoadedModel("flat", network, None, None, None, ""), labels


@pytest.mark.parametrize("layout", ["flat-hwc", "flat-chw", "flat-whc", "flat-cwh"])
def test_the_layout_is_found_by_clean_accuracy(layout):
    model, labels = flat_network(layout)
    found, scores = find_layout(
        prepared(model, AS_IS, ["flat-chw", "nchw", "flat-hwc", "flat-whc", "flat-cwh"]), X, labels
    )
    assert found.preprocess.layout == layout
    assert scores[layout] == 1
    assert "nchw" not in scores  # it can't even be called so
    np.testing.assert_array_equal(found.predict(X).argmax(-1), labels)


def test_the_likeliest_layout_stands_where_no_other_is_clearly_better():
    model, labels = flat_network("flat-hwc")
    found, _ = find_layout(prepared(model, AS_IS, list(LAYOUTS)[6:]), X, 0 * labels)  # at chance in each of them
    assert found.preprocess.layout == "flat-hwc"


def test_a_declared_layout_is_not_questioned():
    model, labels = flat_network("flat-hwc")
    found, scores = find_layout(prepared(model, Preprocess("flat-chw"), list(LAYOUTS)), X, labels)
    assert (found.preprocess.layout, scores) == ("flat-chw", {})


def test_a_randomised_model_stays_one():
    noisy = Randomised(lambda x, key: (x + jax.random.normal(key, x.shape)).sum((2, 3)), draws=2)
    model = prepared(LoadedModel("noisy", noisy, None, None, None, ""), Preprocess("nchw", (0.5,)))
    assert isinstance(model.predict, Randomised)
    assert model.predict(jnp.asarray(X)).shape == (40, 2)


def test_a_stored_model_has_its_preprocessing_inside():
    with pytest.raises(UsageError, match="leave out --input-layout"):
        load_model("mnist-pgd", Preprocess("nchw"))


@pytest.mark.parametrize(
    ("accuracy", "n", "text", "fits"),
    [
        (0.6949, 10_000, "0.69", True),
        (0.6949, 10_000, "69%", True),
        (0.6949, 10_000, "69.00%", True),  # within what 10,000 images can tell
        (0.66, 10_000, "0.69", False),
        (0.66, 100, "0.69", True),
        (0.1, 100, "0.69", False),
        (1.0, 1000, "1", True),
        (0.97, 1000, "1", False),
        (0.5, 1000, "0.5", True),
        (0.57, 1000, "0.5", False),
    ],
)
def test_an_expected_accuracy_is_held_to_what_the_images_can_tell(accuracy, n, text, fits):
    assert [flag.level for flag in expected(accuracy, n, text)] == ([] if fits else ["invalid"])


@pytest.mark.parametrize("text", ["69", "1.2", "-0.5", "x", "101%", ""])
def test_an_expected_accuracy_is_a_fraction_or_a_percentage(text):
    with pytest.raises(UsageError, match="an accuracy like"):
        expected(0.5, 10, text)
