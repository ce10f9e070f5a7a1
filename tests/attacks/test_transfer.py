"""Attacks with momentum: their limits are attacks that are known already, and their corrections by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    ATTACKS,
    NORMS,
    PGD,
    Threat,
)
from advbench.attacks.losses import misclassified
from advbench.attacks.mim import DIFGSM, MIFGSM, TIFGSM, _blur, _framed
from advbench.attacks.vmi import VMIFGSM

BIM, MULTI, ADAM = ATTACKS["bim"], ATTACKS["multitargeted"], ATTACKS["pgd-adam"]
WALK = {"keep": False, "steps": 6, "rel_step_size": 0.2}


def moved(attack, linear, norm="linf", eps=0.05, model=None):
    model = model or linear.model
    return np.asarray(attack(model, Threat(NORMS[norm], eps), linear.x, linear.y, linear.keys).x)


def bent(inner):
    """A model whose gradient turns from place to place."""
    return jax.tree_util.Partial(lambda w, x: jnp.sin(3 * x.reshape(len(x), -1)) @ w, inner.weights)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_decay_nothing_is_remembered(inner, norm):
    model = bent(inner)
    forgetful, plain = MIFGSM(decay=0.0, **WALK), BIM(**WALK)
    np.testing.assert_allclose(
        moved(forgetful, inner, norm, 0.6, model), moved(plain, inner, norm, 0.6, model), atol=1e-5
    )
    assert np.abs(moved(MIFGSM(**WALK), inner, norm, 0.6, model) - moved(plain, inner, norm, 0.6, model)).max() > 1e-3


def test_variants_that_vary_nothing_are_mi_fgsm(inner):
    model = bent(inner)
    plain = moved(MIFGSM(**WALK), inner, "linf", 0.6, model)
    for attack in (
        DIFGSM(probability=0.0, **WALK),
        TIFGSM(kernel=1, **WALK),
        VMIFGSM(beta=0.0, samples=2, **WALK),
    ):
        np.testing.assert_allclose(moved(attack, inner, "linf", 0.6, model), plain, atol=1e-5)
    for attack in (DIFGSM(probability=1.0, **WALK), TIFGSM(**WALK), VMIFGSM(samples=2, **WALK)):
        assert np.abs(moved(attack, inner, "linf", 0.6, model) - plain).max() > 1e-3


def test_on_a_linear_margin_there_is_no_variance(inner):
    """The gradient of one difference of logits is the same everywhere, so VMI corrects nothing."""
    threat = Threat(NORMS["l2"], 0.5)
    loss_reference = ATTACKS["multitargeted"]().loss_reference(inner.model, inner.x, inner.y, 0)
    same = {"targets": 1, "loss": "difference", **WALK}
    plain, tuned = (
        attack(inner.model, threat, inner.x, loss_reference, inner.keys).x
        for attack in (MIFGSM(**same), VMIFGSM(samples=2, **same))
    )
    np.testing.assert_allclose(tuned, plain, atol=1e-5)


def test_passes_are_counted_as_they_are_made(inner):
    threat = Threat(NORMS["linf"], 1e-4)  # nothing falls
    for attack, forwards, gradients in (
        (MIFGSM(), 10, 10),
        (DIFGSM(), 20, 10),
        (DIFGSM(keep=False), 10, 10),
        (TIFGSM(), 10, 10),
        (VMIFGSM(samples=3), 40, 40),
        (ADAM(), 40, 40),
    ):
        got = attack(inner.model, threat, inner.x, inner.y, inner.keys)
        np.testing.assert_array_equal(got.forwards, forwards)
        np.testing.assert_array_equal(got.gradients, gradients)


def test_a_framed_image_is_whole_but_smaller():
    x = jnp.ones((12, 12, 2))
    framed = [np.asarray(_framed(1.0, 1.5, jax.random.key(seed), x)) for seed in range(5)]
    sides = [np.sqrt(small[..., 0].sum()) for small in framed]
    assert all(12 / 1.5 - 1 <= side <= 12 + 1e-5 for side in sides) and max(sides) - min(sides) > 0.5
    assert all(small.max() == pytest.approx(1) for small in framed) and any(small.min() == 0 for small in framed)
    np.testing.assert_array_equal(_framed(0.0, 1.5, jax.random.key(0), x), x)
    np.testing.assert_allclose(_framed(1.0, 1.0, jax.random.key(0), x), x, atol=1e-5)


def test_the_blur_keeps_the_sum_away_from_the_border():
    blur = _blur(9, 5)
    np.testing.assert_allclose(blur[2:-2].sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(blur, blur.T)
    assert blur[4, 4] > blur[4, 5] > blur[4, 6] > 0 == blur[4, 7]


def test_multitargeted_aims_at_every_other_class_and_misses_none_of_the_breakable(inner):
    attack = MULTI(steps=60, rel_step_size=0.05)
    assert attack.runs(4) == 3 and attack.runs(10) == 9
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = -inner.margins() / np.abs(inner.slopes()).sum(-1)
    nearest = np.nanmin(np.where(np.isfinite(distances), distances, np.inf), axis=1)
    eps, broken = float(np.median(nearest)), np.zeros(len(nearest), bool)
    for run in range(3):
        loss_reference = attack.loss_reference(inner.model, inner.x, inner.y, run)
        x_adv = attack(inner.model, Threat(NORMS["linf"], eps), inner.x, loss_reference, inner.keys).x
        broken |= np.asarray(misclassified(inner.model(x_adv), inner.y))
    np.testing.assert_array_equal(
        broken[np.abs(nearest / eps - 1) > 0.01], (nearest < eps)[np.abs(nearest / eps - 1) > 0.01]
    )


def test_adam_comes_to_the_corner_that_is_best(inner):
    """With one linear difference of logits the best image in Linf is a corner of the cube, whose gain is known."""
    loss_reference = MULTI().loss_reference(inner.model, inner.x, inner.y, 0)
    eps = 0.005  # nothing falls, so that the attack goes on to its end
    got = ADAM(targets=1, loss="difference")(
        inner.model, Threat(NORMS["linf"], eps), inner.x, loss_reference, inner.keys
    ).x
    slopes = inner.slopes()[np.arange(len(inner.x)), np.asarray(loss_reference.target)]
    gain = (slopes * np.asarray(got - inner.x, np.float64).reshape(len(got), -1)).sum(-1)
    still = ~np.asarray(misclassified(inner.model(got), inner.y))
    assert still.any()
    np.testing.assert_allclose(gain[still], eps * np.abs(slopes).sum(-1)[still], rtol=1e-3)


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (MIFGSM(decay=-1.0), "decay >= 0"),
        (DIFGSM(probability=1.5), "probability in"),
        (TIFGSM(kernel=4), "odd kernel"),
        (VMIFGSM(samples=0), "samples >= 1"),
        (ADAM(loss="kl"), "no loss 'kl'"),
        (MULTI(targets=0), "no loss 'difference'"),
    ],
)
def test_what_cannot_work_is_refused(attack, says):
    assert isinstance(attack, PGD | ADAM)
    with pytest.raises(ValueError, match=says):
        attack.check(Threat(NORMS["linf"], 0.1))
