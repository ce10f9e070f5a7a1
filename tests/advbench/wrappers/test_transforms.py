"""What each wrapper does to an image, against what others compute, and what attacks see of it."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import median_filter

from advbench.attacks import Randomised
from advbench.data import load
from advbench.wrappers.base import Transformed, before
from advbench.wrappers.bits import BitDepth
from advbench.wrappers.jpeg import Jpeg
from advbench.wrappers.median import Median
from advbench.wrappers.resize import RandomResize, Resized


def summed(x):
    return (x * jnp.arange(x[0].size).reshape(x.shape[1:])).sum((1, 2, 3))[:, None]


@pytest.fixture(scope="module")
def colours():
    return load("cifar10", "test").images[:16]


@pytest.fixture(scope="module")
def digits():
    return load("mnist", "test").images[:16]


def by_pillow(images, quality, subsample):
    def coded(image):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality, subsampling=2 if subsample else 0)
        return np.asarray(Image.open(file)).reshape(image.shape)

    return np.stack([coded(image) for image in images])


@pytest.mark.parametrize(("quality", "subsample"), [(10, True), (75, True), (75, False), (95, True)])
@pytest.mark.parametrize("kind", ["digits", "colours"])
def test_jpeg_is_what_pillow_gives_but_for_ties(kind, quality, subsample, request):
    """A tie moves one coefficient by one step of its table, so that few values differ, and by little on average."""
    images = request.getfixturevalue(kind)
    ours = 255 * np.asarray(Jpeg(quality, subsample).apply(images.astype(np.float32) / 255))
    np.testing.assert_allclose(ours, np.round(ours), atol=1e-3)
    off = np.abs(np.round(ours) - by_pillow(images, quality, subsample).astype(int))
    assert (off == 0).mean() > 0.93
    assert off.mean() < 0.1


def test_jpeg_is_not_the_identity(colours):
    x = colours.astype(np.float32) / 255
    assert float(jnp.abs(Jpeg(10).apply(x) - x).mean()) > 0.02


@pytest.mark.parametrize("size", [2, 3])
def test_median_is_scipys(size, colours):
    x = colours.astype(np.float32) / 255
    np.testing.assert_array_equal(Median(size).apply(x), median_filter(x, (1, size, size, 1), mode="reflect"))


@pytest.mark.parametrize("transform", [BitDepth(1), BitDepth(4), BitDepth(8)])
def test_rounding_twice_is_rounding_once(transform, colours):
    once = transform.apply(colours.astype(np.float32) / 255)
    np.testing.assert_array_equal(transform.apply(once), once)
    assert len(np.unique(once)) <= 2**transform.depth
    assert float(jnp.abs(once - colours / 255).max()) <= 0.5 / (2**transform.depth - 1) + 1e-6


@pytest.mark.parametrize("transform", [Median(2), Median(3), Jpeg(50), BitDepth(1)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_pass(transform, value):
    x = jnp.full((1, 12, 12, 3), value)
    np.testing.assert_allclose(transform.apply(x), x, atol=1e-6)


@pytest.mark.parametrize("transform", [Median(2), Median(3), Jpeg(50), BitDepth(2)])
def test_attacks_that_adapt_climb_the_stand_in(transform, colours):
    x = jnp.asarray(colours[:2].astype(np.float32) / 255)
    seen = jax.grad(lambda x: before(transform, summed, adaptive=True)(x).sum())(x)
    wanted = jax.grad(lambda x: summed(transform.stand_in(x)).sum())(x)
    np.testing.assert_allclose(seen, wanted, rtol=1e-5)
    assert float(jnp.abs(seen).max()) > 0
    np.testing.assert_array_equal(before(transform, summed, adaptive=True)(x), summed(transform.apply(x)))


@pytest.mark.parametrize("transform", [Jpeg(50), BitDepth(2)])
def test_rounding_as_it_is_has_no_gradient(transform, colours):
    x = jnp.asarray(colours[:2].astype(np.float32) / 255)
    assert not jax.grad(lambda x: before(transform, summed, adaptive=False)(x).sum())(x).any()


def test_resized_images_stand_whole_on_black():
    x = jnp.ones((1, 20, 20, 1))
    for low, place in ((0.0, 0.0), (0.99, 0.99), (0.5, 0.2)):
        out = np.asarray(Resized(summed, 0.8).place(x, *jnp.array([low, place, place])))[0, :, :, 0]
        rows = np.flatnonzero(out.sum(1) > 0)
        assert 16 <= len(rows) <= 19
        np.testing.assert_allclose(out[rows[0] : rows[-1] + 1, rows[0] : rows[-1] + 1], 1, atol=1e-5)


def test_random_sizes_follow_from_the_image(digits):
    model = RandomResize(draws=3).wrap(jax.tree_util.Partial(summed), (28, 28, 1), adaptive=True)
    x = jnp.asarray(digits.astype(np.float32) / 255)
    assert isinstance(model, Randomised)
    np.testing.assert_allclose(model(x)[::-1], model(x[::-1]), rtol=1e-5)
    assert float(model.sample(x).std(0).mean()) > 0
    assert float(jnp.abs(model.reseeded()(x) - model(x)).max()) > 0


def test_what_is_randomised_stays_so_behind_another_wrapper(digits):
    x = jnp.asarray(digits[:2].astype(np.float32) / 255)
    inner = RandomResize(draws=2).wrap(jax.tree_util.Partial(summed), (28, 28, 1), adaptive=True)
    outer = before(BitDepth(1), inner, adaptive=True)
    assert isinstance(outer, Randomised)
    assert isinstance(outer.apply, Transformed)
    assert float(jnp.abs(jax.grad(lambda x: outer(x).sum())(x)).max()) > 0
