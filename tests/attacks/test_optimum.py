"""On linear models every attack, in every norm, must reach the optimum that mathematics gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    CW,
    FGSM,
    NORMS,
    PGD,
    TargetedLabels,
    Threat,
)

EPS = {"linf": 0.03, "l2": 0.15, "l1": 0.3}
STEP = {"linf": 0.01, "l2": 0.01, "l1": 0.2}  # L1 shifts mass to the steepest pixel only by the difference of slopes
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
EVERY = pytest.mark.parametrize("norm", DUAL)


def gained(linear, x_adv, target):
    """How much the target's lead over the label grew."""
    d = np.asarray(x_adv - linear.x, np.float64).reshape(len(linear.x), -1)
    return (linear.slopes()[np.arange(len(d)), target] * d).sum(-1)


def knapsack(input_gradient, x, eps):
    """Most gain of `input_gradient . d` with |d|_1 <= eps and x + d in [0, 1]: fill the steepest pixels first."""
    room = np.where(input_gradient > 0, 1 - x, x)
    gain = 0.0
    for i in np.argsort(-np.abs(input_gradient)):
        step = min(room[i], eps)
        gain, eps = gain + step * abs(input_gradient[i]), eps - step
    return gain


@EVERY
@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_targeted_pgd_reaches_the_closed_form_gain(inner, norm, loss):
    """Two classes far behind leave the target's lead over the label as all that counts."""
    behind = jax.tree_util.Partial(
        lambda w, x: jnp.concatenate([x.reshape(len(x), -1) @ w[:, :2], jnp.full((len(x), 2), -40.0)], -1),
        inner.weights,
    )
    label = behind(inner.x).argmax(-1).astype(jnp.int32)
    two = type(inner)(inner.weights, inner.x, label)
    target = 1 - np.asarray(label)
    attack = PGD(steps=400, rel_step_size=STEP[norm], loss=loss, targets=1, keep=False)
    x_adv = attack(
        behind, Threat(NORMS[norm], EPS[norm]), two.x, TargetedLabels(label, jnp.asarray(target)), two.keys
    ).x
    best = EPS[norm] * np.linalg.norm(two.slopes()[np.arange(len(target)), target], DUAL[norm], axis=-1)
    np.testing.assert_allclose(gained(two, x_adv, target), best, rtol=5e-3)


@EVERY
def test_untargeted_margin_of_two_classes_is_exact(norm):
    """With two classes the margin is linear, so steepest ascent must reach the optimum exactly."""
    from tests.attacks.conftest import make

    linear = make(0.4, 0.6, classes=2)
    other = 1 - np.asarray(linear.y)
    slopes = linear.slopes()[np.arange(len(other)), other]
    best = EPS[norm] * np.linalg.norm(slopes, DUAL[norm], axis=-1)
    for loss in ("ce", "margin"):
        attack = PGD(steps=400, rel_step_size=STEP[norm], loss=loss, keep=False)
        x_adv = attack(linear.model, Threat(NORMS[norm], EPS[norm]), linear.x, linear.y, linear.keys).x
        np.testing.assert_allclose(gained(linear, x_adv, other), best, rtol=5e-3)


def test_the_box_is_part_of_the_optimum(boxed):
    """Linf and L1 with pixels at 0 and 1: per-pixel room, and a fractional knapsack."""
    two = type(boxed)(boxed.weights[:, :2], boxed.x, boxed.model(boxed.x)[:, :2].argmax(-1).astype(jnp.int32))
    other = 1 - np.asarray(two.y)
    slopes = two.slopes()[np.arange(len(other)), other]
    flat = np.asarray(two.x, np.float64).reshape(len(two.x), -1)
    attack = PGD(steps=600, rel_step_size=0.05, loss="margin", keep=False)

    x_adv = attack(two.model, Threat(NORMS["linf"], 0.1), two.x, two.y, two.keys).x
    room = np.where(slopes > 0, np.minimum(1 - flat, 0.1), np.minimum(flat, 0.1))
    np.testing.assert_allclose(gained(two, x_adv, other), (np.abs(slopes) * room).sum(-1), rtol=1e-4)

    x_adv = attack(two.model, Threat(NORMS["l1"], 1.5), two.x, two.y, two.keys).x
    best = [knapsack(s, x, 1.5) for s, x in zip(slopes, flat, strict=True)]
    np.testing.assert_allclose(gained(two, x_adv, other), best, rtol=2e-2)


def test_fgsm_is_optimal_in_linf_and_l2_in_one_step():
    from tests.attacks.conftest import make

    linear = make(0.4, 0.6, classes=2)
    other = 1 - np.asarray(linear.y)
    slopes = linear.slopes()[np.arange(len(other)), other]
    for norm in ("linf", "l2"):
        x_adv = FGSM()(linear.model, Threat(NORMS[norm], EPS[norm]), linear.x, linear.y, linear.keys).x
        best = EPS[norm] * np.linalg.norm(slopes, DUAL[norm], axis=-1)
        np.testing.assert_allclose(gained(linear, x_adv, other), best, rtol=1e-4)


def nearest_boundary(linear):
    """L2 distance to the nearest decision boundary, in closed form."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = -linear.margins() / np.linalg.norm(linear.slopes(), axis=-1)
    return np.nanmin(np.where(np.isfinite(distances), distances, np.inf), axis=1)


def test_cw_finds_the_nearest_boundary(inner):
    threat, attack = Threat(NORMS["l2"], 5.0), CW(steps=1500, lr=0.002, targets=3)
    sizes = np.full(len(inner.x), np.inf)
    for run in range(attack.runs(4)):
        loss_reference = attack.loss_reference(inner.model, inner.x, inner.y, run)
        x_adv = attack(inner.model, threat, inner.x, loss_reference, inner.keys).x
        np.testing.assert_array_equal(inner.model(x_adv).argmax(-1), loss_reference.target)
        sizes = np.minimum(sizes, jax.vmap(threat.length)(inner.x, x_adv))
    best = nearest_boundary(inner)
    assert (sizes >= best * (1 - 1e-4)).all()
    np.testing.assert_allclose(sizes, best, rtol=0.01)


def test_cw_moves_pixels_that_start_at_the_edge(boxed):
    """tanh is flat at 0 and 1; an attack that starts there must still come near the boxed optimum."""
    from scipy.optimize import minimize

    threat = Threat(NORMS["l2"], 5.0)
    proposal = CW(steps=2000)(boxed.model, threat, boxed.x, boxed.y, boxed.keys)
    sizes = np.asarray(jax.vmap(threat.length)(boxed.x, proposal.x))
    for i in range(4):
        x = np.asarray(boxed.x[i], np.float64).ravel()
        best = np.inf
        for k in range(4):
            if k == int(boxed.y[i]):
                continue
            input_gradient, lead = boxed.slopes()[i, k], boxed.margins()[i, k]
            found = minimize(
                lambda d: (d**2).sum(),
                np.zeros_like(x),
                jac=lambda d: 2 * d,
                bounds=list(zip(-x, 1 - x, strict=True)),
                constraints={
                    "type": "ineq",
                    "fun": lambda d, s=input_gradient, m=lead: s @ d + m,
                    "jac": lambda d, s=input_gradient: s,
                },
            )
            if found.success:
                best = min(best, np.sqrt(found.fun))
        assert best * (1 - 1e-3) <= sizes[i] <= best * 1.02


def test_cw_with_confidence_goes_that_far_beyond(inner):
    threat = Threat(NORMS["l2"], 5.0)
    x_adv = CW(steps=600, confidence=1.0, c=1.0, rounds=5)(inner.model, threat, inner.x, inner.y, inner.keys).x
    logits = np.asarray(inner.model(x_adv), np.float64)
    right = logits[np.arange(len(logits)), np.asarray(inner.y)]
    logits[np.arange(len(logits)), np.asarray(inner.y)] = -np.inf
    assert (logits.max(-1) - right >= 1.0 - 1e-4).all()


def test_cw_aims_at_the_target_it_is_given(inner):
    threat, target = Threat(NORMS["l2"], 9.0), (inner.y + 2) % 4
    x_adv = CW(steps=1000, targets=1)(inner.model, threat, inner.x, TargetedLabels(inner.y, target), inner.keys).x
    np.testing.assert_array_equal(inner.model(x_adv).argmax(-1), target)
