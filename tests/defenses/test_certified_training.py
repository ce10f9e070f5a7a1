"""What certified training pays, on a linear network where bounds are a closed form, and that it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from advbench.attacks import NORMS, Threat
from advbench.defenses import CROWNIBP, IBP
from advbench.defenses.ibp import bounded
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import fit
from advbench.nn.frozen import freeze

from .test_objectives import Linear
from .tiny import LINF, Net, blobs

GREY = jnp.full((4, 6, 6, 1), 0.5)
LABELS = jnp.asarray([0, 1, 2, 0])
TARGET = jax.nn.one_hot(LABELS, 3)


def worst_case(module, eps):
    """Of a linear network: each wrong logit, less the right one, plus eps times the sum of the slope's sizes."""
    w = np.asarray(module.layer.kernel[...], np.float64)
    logits = np.asarray(module(GREY), np.float64)
    right = logits[np.arange(4), LABELS][:, None]
    return logits - right + eps * np.abs(w[:, None, :] - w[:, LABELS, None]).sum(0)


def cross_entropy(logits):
    return float(optax.softmax_cross_entropy(jnp.asarray(logits), TARGET).mean())


@pytest.mark.parametrize("defense", [IBP(kappa=0.3), CROWNIBP(kappa=0.3)])
@pytest.mark.parametrize(("ramp", "clean"), [(0.5, 0.65), (1.0, 0.3)])
def test_the_loss_is_clean_and_worst_case_in_the_share_of_the_moment(defense, ramp, clean):
    module = Linear()
    loss, logits = defense.at(Threat(NORMS["linf"], 0.02), ramp).loss(module, GREY, GREY, TARGET)
    worst = worst_case(module, 0.02)
    assert float(loss.mean()) == pytest.approx(
        clean * cross_entropy(module(GREY)) + (1 - clean) * cross_entropy(worst), rel=1e-4
    )
    np.testing.assert_allclose(logits, worst, atol=1e-5)


def test_crown_ibp_goes_from_linear_bounds_to_intervals():
    images, labels = blobs(8)
    x, y, target = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels), jax.nn.one_hot(labels, 3)
    model = freeze(Net())

    def worst(defense, ramp):
        return np.asarray(defense.at(LINF, ramp).loss(model, x, x, target)[1])

    linear, interval = (-np.asarray(bounded(model, LINF, x, y, method)) for method in ("crown-ibp", "ibp"))
    assert np.abs(linear - interval).max() > 1e-3
    np.testing.assert_allclose(worst(CROWNIBP(), 1.0), interval, atol=1e-5)
    np.testing.assert_allclose(worst(CROWNIBP(beta=1.0), 1.0), linear, atol=1e-5)
    np.testing.assert_allclose(worst(CROWNIBP(), 0.25), 0.75 * linear + 0.25 * interval, atol=1e-5)


@pytest.mark.parametrize("defense", [IBP(), CROWNIBP()])
def test_training_raises_certified_accuracy(defense):
    """Through the one loop, with dropout and batch statistics."""
    images, labels = blobs(192)
    recipe = Recipe(epochs=8, batch_size=16, validation=32, lr=0.01, eps_warmup=3)
    threat = Threat(NORMS["linf"], 0.05)
    x, y = jnp.asarray(images[:64], jnp.float32) / 255, jnp.asarray(labels[:64])

    def certified(module):
        margins = bounded(freeze(module), threat, x, y, "ibp")
        return float((jnp.where(jax.nn.one_hot(y, 3) > 0, jnp.inf, margins).min(-1) > 0).mean())

    fitted = fit(Net(), defense, threat, images, labels, recipe)
    assert certified(fitted.module) > 0.8 > certified(Net())


@pytest.mark.parametrize(
    ("defense", "norm", "words"),
    [(IBP(kappa=1.5), "linf", "kappa"), (CROWNIBP(beta=-0.1), "linf", "beta"), (IBP(), "l0", "can't train for l0")],
)
def test_settings_that_cannot_work_are_refused(defense, norm, words):
    with pytest.raises(ValueError, match=words):
        defense.check(Threat(NORMS[norm], 1.0))
