"""Adversarial weight perturbation: where the slope is taken, and that it goes around any defense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.core.spec import build
from advbench.defenses import DEFENSES, TRADES, PGDTraining
from advbench.defenses import step as one
from advbench.defenses.awp import around
from advbench.defenses.base import Defense
from advbench.defenses.recipe import Recipe

from .tiny import LINF, Linear, Net, blobs, leaves, same

PER_EPOCH = 10


@pytest.fixture(scope="module")
def batch():
    images, labels = blobs(32)
    x = jnp.asarray(images, jnp.float32) / 255
    moved = jnp.clip(x + 0.1 * jnp.sign(jax.random.normal(jax.random.key(2), x.shape)), 0, 1)
    return x, moved, jnp.asarray(labels)


def descend(defense, module, batch, step=0):
    x, moved, y = batch
    graph, state = nnx.split(module)
    recipe = Recipe(optimizer="sgd", lr=0.1, schedule="constant")
    static = {"graph": graph, "recipe": recipe, "classes": 3, "per_epoch": PER_EPOCH}
    return one.update(one.begin(state, recipe), defense, LINF, x, moved, y, step, 1.0, **static)


@pytest.mark.parametrize("base", [PGDTraining, TRADES])
def test_without_size_it_is_the_defense_itself_to_the_bit(base, batch):
    plain, _ = descend(base(), Net(), batch)
    assert same(descend(around(base)(gamma=0.0), Net(), batch)[0], plain)
    assert not same(descend(around(base)(gamma=0.01), Net(), batch)[0], plain)


def test_it_waits_for_its_warmup(batch):
    plain, _ = descend(PGDTraining(), Net(), batch)
    late = around(PGDTraining)(warmup=2.0)
    assert same(descend(late, Net(), batch, step=2 * PER_EPOCH - 1)[0], plain)
    assert not same(descend(late, Net(), batch, step=2 * PER_EPOCH)[0], plain)


def test_the_slope_is_taken_a_relative_step_up_the_loss(batch):
    x, moved, y = batch
    gamma, module = 0.05, Linear()
    weights, bias = module.layer.kernel[...], module.layer.bias[...]

    def loss(weights, bias):
        logits = moved.reshape(len(x), -1) @ weights + bias
        return -jax.nn.log_softmax(logits)[jnp.arange(len(y)), y].mean()

    up = jax.grad(loss)(weights, bias)
    worst = weights + gamma * jnp.linalg.norm(weights) * up / jnp.linalg.norm(up)
    slopes = jax.grad(loss, (0, 1))(worst, bias)
    now, seen = descend(around(PGDTraining)(gamma=gamma), module, batch)
    # Nesterov's first step: gradient plus 0.9 times the momentum, which is the gradient.
    layer = now.state["layer"]
    np.testing.assert_allclose(layer["kernel"][...], weights - 0.19 * slopes[0], atol=1e-6)
    np.testing.assert_allclose(layer["bias"][...], bias - 0.19 * slopes[1], atol=1e-6)
    assert float(seen["loss"]) == pytest.approx(float(loss(worst, bias)), rel=1e-5)
    assert float(seen["loss"]) > float(loss(weights, bias))


def test_tiny_slopes_and_none_at_all_do_no_harm(batch):
    x, moved, y = batch
    flat = (jnp.zeros_like(x), jnp.zeros_like(moved), y)  # no slope of the first layer's kernel
    now, seen = descend(around(PGDTraining)(), Net(), flat)
    assert np.isfinite(float(seen["loss"]))
    assert all(np.isfinite(leaf).all() for leaf in leaves(now.state))


def test_every_robust_defense_has_one_with_the_settings_of_both():
    for name, base in DEFENSES.items():
        if base.robust and not name.startswith("awp-") and base.at is Defense.at:  # none around losses that change
            perturbed = DEFENSES[f"awp-{name}"]
            assert (perturbed.perturb, perturbed.loss) == (base.perturb, base.loss)
    assert DEFENSES["awp-pgd"]().gamma == 0.01
    assert (DEFENSES["awp-trades"]().gamma, DEFENSES["awp-trades"]().rel_step_size) == (0.005, 0.25)
    assert DEFENSES["awp-mart"]().rel_step_size == DEFENSES["mart"]().rel_step_size
    built = build("defense", "awp-trades:beta=3,gamma=0.02,warmup=1", DEFENSES)
    assert (built.beta, built.gamma, built.warmup, built.steps) == (3.0, 0.02, 1.0, 10)
    assert repr(built).startswith("AWPTRADES(beta=3.0")
