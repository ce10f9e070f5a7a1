"""What each defense trains on, and what it pays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from advbench.attacks import NORMS, PGD, Threat
from advbench.defenses import (
    DEFENSES,
    MART,
    TRADES,
    FastTraining,
    FreeTraining,
    GradAlign,
    LogitPairing,
    NoiseFGSM,
    NoiseTraining,
    PGDTraining,
    Standard,
)
from advbench.defenses import step as one
from advbench.defenses.recipe import Recipe
from advbench.nn.frozen import freeze

from .tiny import LINF, Linear, Net, blobs, leaves

# in units of eps; free training moves images as it descends
REACH = {"n-fgsm": 3.0, "standard": 0.0, "free": 0.0, "ibp": 0.0, "crown-ibp": 0.0}


@pytest.fixture(scope="module")
def batch():
    images, labels = blobs(32)
    return jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels), jax.random.split(jax.random.key(1), 32)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", [name for name in DEFENSES if name != "noise" and not name.startswith("awp-")])
def test_crafted_images_are_allowed(name, norm, batch):
    x, y, keys = batch
    threat = Threat(NORMS[norm], {"linf": 0.1, "l2": 0.5, "l1": 2.0}[norm])
    perturbed = DEFENSES[name]().perturb(freeze(Net()), threat, x, y, keys)
    several = perturbed[:, None] if perturbed.ndim == x.ndim else perturbed
    sizes = jax.vmap(jax.vmap(threat.length, (None, 0)))(x, several)
    reach = REACH.get(name, 1.0) * threat.eps
    assert sizes.max() <= reach + 1e-5
    assert perturbed.min() >= 0 and perturbed.max() <= 1
    assert (sizes.max() == 0) == (reach == 0)


def test_fast_training_is_one_projected_step_from_a_point_of_the_ball(batch):
    x, y, keys = batch
    model = freeze(Net())
    start = jax.vmap(LINF.start)(keys, x)
    input_gradient = jax.grad(lambda x: optax.softmax_cross_entropy_with_integer_labels(model(x), y).sum())(start)
    blocked = ((input_gradient > 0) & (start >= 1)) | ((input_gradient < 0) & (start <= 0))
    stepped = start + 1.25 * LINF.eps * jnp.where(blocked, 0, jnp.sign(input_gradient))
    expected = jnp.clip(jnp.clip(stepped, x - LINF.eps, x + LINF.eps), 0, 1)
    np.testing.assert_allclose(FastTraining().perturb(model, LINF, x, y, keys), expected, atol=1e-6)


def test_more_steps_find_a_higher_loss(batch):
    x, y, keys = batch
    model = freeze(Net())

    def loss(defense):
        logits = model(defense.perturb(model, LINF, x, y, keys))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    assert loss(Standard()) < loss(FastTraining()) < loss(PGDTraining(steps=20, rel_step_size=0.2))


def test_pgd_training_keeps_climbing_on_fooled_images(batch):
    x, y, keys = batch
    model = freeze(Net())
    perturbed = PGDTraining(steps=10, rel_step_size=0.2).perturb(model, LINF, x, y, keys)
    kept = PGD(steps=10, rel_step_size=0.2, keep=True)(model, LINF, x, y, keys).x
    assert jnp.any(perturbed != kept)


def test_trades_pays_cross_entropy_and_beta_times_divergence(batch):
    x, y, _ = batch
    moved = jnp.clip(x + 0.1, 0, 1)
    model = freeze(Net())
    target = jax.nn.one_hot(y, 3)
    clean, other = np.asarray(model(x), np.float64), np.asarray(model(moved), np.float64)
    p, q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (clean, other))
    natural = -np.log(p[np.arange(len(y)), y])
    divergence = (p * np.log(p / q)).sum(-1)
    loss, logits = TRADES(beta=6.0).loss(model, x, moved, target)
    np.testing.assert_allclose(loss, natural + 6 * divergence, rtol=1e-4)
    np.testing.assert_array_equal(logits, model(moved))


def test_trades_moves_images_away_from_the_clean_prediction_not_from_the_label(batch):
    x, y, keys = batch
    model = freeze(Net())
    perturbed = TRADES().perturb(model, LINF, x, y, keys)
    np.testing.assert_array_equal(perturbed, TRADES().perturb(model, LINF, x, (y + 1) % 3, keys))
    p = jax.nn.softmax(model(x))
    divergence = (p * (jnp.log(p) - jax.nn.log_softmax(model(perturbed)))).sum(-1)
    assert divergence.min() > 0


@pytest.mark.parametrize(
    ("defense", "words"),
    [
        (PGDTraining(steps=3), "can't reach"),
        (TRADES(beta=-1.0), "beta"),
        (FastTraining(rel_step_size=0.0), "rel_step_size"),
        (MART(beta=-1.0), "beta"),
        (MART(steps=3), "can't reach"),
        (LogitPairing(weight=-1.0), "weight"),
        (NoiseTraining(sigma=0.0), "sigma"),
        (NoiseFGSM(noise=-1.0), "noise"),
        (FreeTraining(replays=0), "replays"),
        (GradAlign(weight=-0.1), "weight"),
        (DEFENSES["awp-trades"](gamma=-1.0), "gamma"),
        (DEFENSES["awp-trades"](beta=-1.0), "beta"),
    ],
)
def test_settings_that_cannot_work_are_refused(defense, words):
    with pytest.raises(ValueError, match=words):
        defense.check(LINF)


@pytest.mark.parametrize("defense", [PGDTraining(steps=5, rel_step_size=0.5), TRADES(steps=5, rel_step_size=0.5)])
def test_a_step_descends_the_loss_at_fixed_images(defense, batch):
    """No gradient flows through the attack: the crafted images count as constants."""
    x, y, keys = batch
    module = Linear()
    graph, state = nnx.split(module)
    x_adv = defense.perturb(freeze(module), LINF, x, y, keys)
    target = jax.nn.one_hot(y, 3)
    input_gradient = jax.grad(lambda state: defense.loss(nnx.merge(graph, state), x, x_adv, target)[0].mean())(state)
    recipe = Recipe(optimizer="sgd", lr=0.1, schedule="constant")
    static = {"graph": graph, "recipe": recipe, "classes": 3, "per_epoch": 10}
    now, seen = one.update(one.begin(state, recipe), defense, LINF, x, x_adv, y, 0, 1.0, **static)
    # Nesterov's first step: gradient plus 0.9 times the momentum, which is the gradient.
    expected = jax.tree.map(lambda p, g: p - 0.1 * 1.9 * g, state, input_gradient)
    for got, want in zip(leaves(now.state), leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert float(seen["input_gradient"]) == pytest.approx(float(optax.tree.norm(input_gradient)), rel=1e-5)


def test_batch_statistics_follow_the_update_only(batch):
    x, y, keys = batch
    module = Net()
    before = np.asarray(module.norm.mean[...])
    x_adv = PGDTraining(steps=2, rel_step_size=0.5).perturb(freeze(module), LINF, x, y, keys)
    np.testing.assert_array_equal(module.norm.mean[...], before)
    graph, state = nnx.split(module)
    recipe = Recipe()
    static = {"graph": graph, "recipe": recipe, "classes": 3, "per_epoch": 10}
    now, _ = one.update(one.begin(state, recipe), Standard(), LINF, x, x_adv, y, 0, 1.0, **static)
    seen = np.asarray(module.first(x_adv.reshape(len(x_adv), -1)).mean(0))
    np.testing.assert_allclose(now.state["norm"]["mean"][...], 0.99 * before + 0.01 * seen, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("defense", [TRADES(), MART()])
def test_steps_are_the_authors(defense):
    """10 of 0.007 at eps 0.031."""
    assert (defense.steps, 0.031 * defense.rel_step_size) == (10, pytest.approx(0.007))
