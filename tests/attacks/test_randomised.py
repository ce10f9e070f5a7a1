"""Models that draw random numbers, and models whose gradient is of no use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    NORMS,
    PGD,
    Randomised,
    Threat,
    bpda,
)
from advbench.attacks.losses import cross_entropy, input_gradient


def noisy(weights, x, key):
    """Linear in an image to which noise is added: its expectation is the linear model itself."""
    return (x + 0.1 * jax.random.normal(key, x.shape)).reshape(len(x), -1) @ weights


@pytest.fixture
def model(inner):
    return Randomised(jax.tree_util.Partial(noisy, inner.weights), draws=64)


def test_the_mean_over_draws_tends_to_the_expectation(model, inner):
    exact = np.asarray(inner.model(inner.x))
    spread = 0.1 * np.linalg.norm(np.asarray(inner.weights), axis=0) / np.sqrt(64)
    off = np.abs(np.asarray(model(inner.x)) - exact) / spread
    assert 0.5 < off.mean() < 1.1  # sqrt(2 / pi) = 0.8 for a normal deviate
    assert off.max() < 5


def test_randomness_follows_from_the_image_alone(model, inner):
    whole = np.asarray(model(inner.x))
    np.testing.assert_allclose(model(inner.x[::-1])[::-1], whole, atol=1e-5)
    np.testing.assert_allclose(model(inner.x[3:5]), whole[3:5], atol=1e-5)
    np.testing.assert_array_equal(model(inner.x), whole)
    moved = model(inner.x + 1e-7)  # another point, other draws: the difference is noise, not 1e-7 of slope
    assert (np.abs(np.asarray(moved) - whole).max(1) > 1e-3).all()


def test_the_judge_draws_anew(model, inner):
    assert (np.abs(np.asarray(model.reseeded()(inner.x) - model(inner.x))).max(1) > 1e-3).all()


def test_the_slope_is_the_mean_over_draws(inner):
    model = Randomised(jax.tree_util.Partial(noisy, inner.weights), draws=3)
    g, logits = input_gradient(model, cross_entropy, inner.x, inner.y)
    draws = model.sample(inner.x)
    w = np.asarray(inner.weights, np.float64)
    p = np.asarray(jax.nn.softmax(draws), np.float64)  # d ce / dx = W (softmax - onehot), draw by draw
    by_hand = ((p - np.eye(w.shape[1])[np.asarray(inner.y)]) @ w.T).mean(0)
    np.testing.assert_allclose(np.asarray(g).reshape(len(by_hand), -1), by_hand, atol=1e-5)
    np.testing.assert_allclose(logits, np.asarray(draws).mean(0), atol=1e-5)


def test_more_draws_climb_nearer_to_the_optimum(inner):
    """Under strong noise one draw a step wanders; the mean over many goes where the linear model says."""

    def rough(weights, x, key):
        return (x * (1 + 3 * jax.random.normal(key, x.shape))).reshape(len(x), -1) @ weights

    def gain(draws):
        model = Randomised(jax.tree_util.Partial(rough, inner.weights), draws=draws)
        attack = PGD(steps=10, rel_step_size=0.2, loss="margin", start="clean", keep=False)
        x_adv = attack(model, Threat(NORMS["linf"], 0.03), inner.x, inner.y, inner.keys).x
        exact = inner.model(x_adv)
        label = jax.nn.one_hot(inner.y, exact.shape[-1], dtype=bool)
        return float((jnp.where(label, -jnp.inf, exact).max(-1) - exact[label]).mean())

    assert gain(64) > gain(1) + 0.05


def test_plain_functions_are_accepted_and_go_into_programs(inner):
    model = Randomised(lambda x, key: noisy(inner.weights, x, key), draws=2)
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(model, inner.x), model(inner.x), atol=1e-5)


def test_bpda_computes_forward_exactly_and_differentiates_backward():
    quantise = bpda(lambda x: jnp.round(3 * x) / 3)
    x = jnp.linspace(0, 1, 7)
    np.testing.assert_array_equal(quantise(x), jnp.round(3 * x) / 3)
    np.testing.assert_array_equal(jax.grad(lambda x: (quantise(x) * jnp.arange(7)).sum())(x), jnp.arange(7))
    squared = bpda(jnp.sign, lambda x: x**2)
    np.testing.assert_array_equal(jax.vmap(jax.grad(squared))(x), 2 * x)


def test_bpda_gives_pgd_its_gradient_back(inner):
    def model(through):
        return jax.tree_util.Partial(lambda w, x: through(x).reshape(len(x), -1) @ w, inner.weights)

    def quantise(x):
        return jnp.round(x * 32) / 32

    threat, attack = Threat(NORMS["linf"], 0.05), PGD(steps=10, rel_step_size=0.2, start="clean", keep=False)
    hidden, seen = model(quantise), model(bpda(quantise))
    np.testing.assert_array_equal(attack(hidden, threat, inner.x, inner.y, inner.keys).x, inner.x)
    x_adv = attack(seen, threat, inner.x, inner.y, inner.keys).x
    right = hidden(inner.x).argmax(-1) == inner.y
    assert int((hidden(x_adv).argmax(-1) == inner.y).sum()) < int(right.sum()) / 2
