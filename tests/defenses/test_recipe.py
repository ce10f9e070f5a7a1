"""Schedules, smoothing, averaging and clipping against their formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.defenses import Standard
from advbench.defenses import step as one
from advbench.defenses.recipe import Recipe

from .tiny import LINF, Net, blobs, leaves


def one_step(recipe, step=5, slower=1.0, module=None):
    images, labels = blobs(32)
    x, y = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels)
    graph, state = nnx.split(module or Net())
    now = one.begin(state, recipe)
    static = {"graph": graph, "recipe": recipe, "classes": 3, "per_epoch": 10}
    then, seen = one.update(now, Standard(), LINF, x, x, y, step, slower, **static)
    return state, then, seen


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        ("constant", {0: 1.0, 99: 1.0}),
        ("cosine", {0: 1.0, 50: 0.5, 100: 0.0}),
        ("piecewise", {0: 1.0, 49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01}),
        ("one-cycle", {0: 0.04, 30: 1.0, 100: 0.000004}),
    ],
)
def test_learning_rates(schedule, at):
    recipe = Recipe(epochs=10, lr=0.3, schedule=schedule)
    for step, share in at.items():
        assert float(recipe.lr_at(step, 10)) == pytest.approx(0.3 * share, rel=1e-4, abs=1e-6), step


def test_warm_ups_rise_linearly_and_then_hold():
    recipe = Recipe(epochs=10, lr=1.0, schedule="constant", warmup=2.0, eps_warmup=0.5)
    assert [float(recipe.lr_at(step, 10)) for step in (0, 9, 19, 20)] == pytest.approx([0.05, 0.5, 1, 1])
    assert [recipe.eps_at(step, 10, 0.3) for step in (0, 3, 4, 99)] == pytest.approx([0.06, 0.24, 0.3, 0.3])
    assert Recipe().eps_at(0, 10, 0.3) == 0.3


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_clipping_bounds_what_the_optimizer_sees(optimizer):
    transform = Recipe(optimizer=optimizer, clip=0.1).transform()
    input_gradient = {"w": jnp.array([3.0, 4.0])}
    opt = transform.init(input_gradient)
    got, _ = transform.update(input_gradient, opt, input_gradient)
    plain = Recipe(optimizer=optimizer).transform()
    want, _ = plain.update({"w": jnp.array([0.06, 0.08])}, opt, input_gradient)
    np.testing.assert_allclose(got["w"], want["w"], rtol=1e-6)


def test_weight_decay_is_decoupled_for_adam_and_coupled_for_sgd():
    p, g = {"w": jnp.array([2.0, -1.0])}, {"w": jnp.array([0.5, 0.25])}
    adam = Recipe(weight_decay=0.1).transform()
    got, _ = adam.update(g, adam.init(p), p)
    np.testing.assert_allclose(got["w"], np.sign(g["w"]) + 0.1 * p["w"], rtol=1e-5)
    sgd = Recipe(optimizer="sgd", weight_decay=0.1).transform()
    got, _ = sgd.update(g, sgd.init(p), p)
    np.testing.assert_allclose(got["w"], 1.9 * (g["w"] + 0.1 * p["w"]), rtol=1e-5)


def test_label_smoothing_spreads_its_share_over_all_classes():
    images, labels = blobs(32)
    x = jnp.asarray(images, jnp.float32) / 255
    _, _, seen = one_step(Recipe(label_smoothing=0.3))
    model = Net()
    logp = np.asarray(jax.nn.log_softmax(model(x)), np.float64)
    target = np.full((32, 3), 0.1)
    target[np.arange(32), labels] += 0.7
    assert float(seen["loss"]) == pytest.approx(-(target * logp).sum(-1).mean(), rel=1e-5)


def test_the_average_follows_its_formula():
    recipe = Recipe(ema=0.99)
    for step, decay in ((0, 0.1), (20, 0.7), (10_000, 0.99)):
        before, now, _ = one_step(recipe, step=step)
        for old, new, mean in zip(leaves(before), leaves(now.state), leaves(now.ema), strict=True):
            expected = decay * old + (1 - decay) * new if old.dtype == np.float32 else new
            np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)


def test_without_averaging_the_weights_themselves_are_released():
    _, now, _ = one_step(Recipe(ema=0.0))
    for new, mean in zip(leaves(now.state), leaves(now.ema), strict=True):
        np.testing.assert_array_equal(new, mean)


def test_a_slower_run_takes_shorter_steps_in_the_same_direction():
    before, fast, _ = one_step(Recipe(schedule="constant"))
    _, slow, _ = one_step(Recipe(schedule="constant"), slower=0.5)
    params = [nnx.split_state(state, nnx.Param, ...)[0] for state in (before, fast.state, slow.state)]
    for old, far, near in zip(*map(leaves, params), strict=True):
        np.testing.assert_allclose(near - old, (far - old) / 2, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "setting",
    [
        {"optimizer": "adamm"},
        {"schedule": "cosinus"},
        {"augment": "mixup"},
        {"mix": "cutmixup"},
        {"perturb_dtype": "float16"},
        {"mix_alpha": 0.0},
        {"extra_fraction": 1.0},
        {"epochs": 0},
        {"lr": float("nan")},
        {"ema": 1.0},
        {"label_smoothing": -0.1},
        {"clip": -1.0},
        {"validation": 0},
    ],
)
def test_senseless_settings_are_refused(setting):
    Recipe().check()
    with pytest.raises(ValueError, match=r"must|unknown|negative"):
        dataclasses.replace(Recipe(), **setting).check()
