"""A linear model under noise: the exact radius of its smoothed classifier is the distance to the boundary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, norm

from advbench.certification.certificate import Smoothing
from advbench.certification.smoothing import least_draws, radius, smooth

W = jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)), jnp.float32)
MODEL = jax.tree_util.Partial(lambda w, x: (x.reshape(len(x), -1) - 0.5) @ w, W)
HOW = Smoothing(sigma=0.25, samples=4000, selection=50, alpha=0.001)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(size=(24, 4, 4, 1)).astype(np.float32)


def found(images, **changed):
    arguments = {"seed": 0, "batch_size": 500} | changed
    return smooth(MODEL, images, np.arange(len(images)), HOW, **arguments)


def test_radii_are_below_the_exact_ones_and_near(images):
    logits = np.asarray(MODEL(images), np.float64)
    exact = np.abs(logits[:, 0] - logits[:, 1]) / np.linalg.norm(np.asarray(W[:, 0] - W[:, 1]))
    got = found(images)
    sure = got.prediction >= 0
    assert sure.sum() >= 12
    np.testing.assert_array_equal(got.prediction[sure], logits.argmax(1)[sure])
    assert (got.radius <= exact + 1e-9).all()
    near = sure & (exact < 0.5)
    assert (got.radius[near] > exact[near] - 0.1).all() and near.any()
    assert (got.radius[~sure] == 0).all()


def test_noise_is_the_image_s_own(images):
    """Neither the batch nor the neighbours change a vote."""
    whole = found(images)
    np.testing.assert_array_equal(found(images, batch_size=333).radius, whole.radius)
    np.testing.assert_array_equal(found(images[:3]).radius, whole.radius[:3])
    assert (found(images, seed=1).radius != whole.radius).any()


def test_the_bound_is_clopper_and_pearson_s():
    """At the bound itself, as many votes or more have probability alpha."""
    votes, draws, alpha = 940, 1000, 0.001
    low = norm.cdf(radius(votes, draws, 0.5, alpha) / 0.5)
    assert binom.sf(votes - 1, draws, low) == pytest.approx(alpha, rel=1e-6)
    assert radius(draws, draws, 1.0, alpha) == pytest.approx(norm.ppf(alpha ** (1 / draws)))


@pytest.mark.parametrize(("alpha", "draws"), [(0.001, 10), (0.01, 7), (0.49, 2), (1e-6, 20)])
def test_the_fewest_draws_that_certify_anything(alpha, draws):
    """Of all votes the bound is alpha ** (1 / draws), which must exceed a half."""
    assert least_draws(alpha) == draws
    assert alpha ** (1 / draws) > 0.5 >= alpha ** (1 / (draws - 1))


@pytest.mark.parametrize(("votes", "draws"), [(50, 100), (0, 100), (60, 100), (5, 5)])
def test_too_few_votes_abstain(votes, draws):
    assert radius(votes, draws, 0.25, 0.001) == 0
