"""On linear models the nearest image that fools is known; every minimum-norm attack must come near it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    DDN,
    EAD,
    FMN,
    NORMS,
    CWLinf,
    DeepFool,
    TargetedLabels,
    Threat,
)
from advbench.attacks.deepfool import NUDGE
from tests.attacks.conftest import Linear, make

FAR = {"linf": 1.0, "l2": 9.0, "l1": 50.0, "l0": 50.0}  # farther than the corner of the box
DUAL = {"linf": 1, "l2": 2}


def nearest(linear, norm):
    """How far the nearest other class is, in closed form: `[n]`."""
    return np.nanmin([distance(linear, norm, k) for k in range(linear.weights.shape[1])], axis=0)


def distance(linear, norm, k):
    """How far class `k` is from each image; nan where it is the label."""
    found = np.full(len(linear.x), np.nan)
    for i, (slopes, margins) in enumerate(zip(linear.slopes(), linear.margins(), strict=True)):
        if k == int(linear.y[i]):
            continue
        if norm in DUAL:
            found[i] = -margins[k] / np.linalg.norm(slopes[k], DUAL[norm])
        else:
            found[i] = greedy(slopes[k], np.asarray(linear.x[i], np.float64).ravel(), -margins[k], norm)
    return found


def greedy(input_gradient, x, missing, norm):
    """The least L1 or L0 within the box: L1 fills the steepest values first, L0 those that gain most in all."""
    room = np.where(input_gradient > 0, 1 - x, x)
    gains = np.abs(input_gradient) * room
    used = 0.0
    for i in np.argsort(-(np.abs(input_gradient) if norm == "l1" else gains)):
        if gains[i] >= missing:
            return used + (missing / abs(input_gradient[i]) if norm == "l1" else 1)
        missing, used = missing - gains[i], used + (room[i] if norm == "l1" else 1)
    return np.inf


def deep():
    """Images of two classes so far from the boundary that one value can't cross it, nor L1 without meeting the box."""
    linear = make(0.4, 0.6, classes=2)
    pull = linear.slopes()[np.arange(len(linear.x)), 1 - np.asarray(linear.y)].reshape(linear.x.shape)
    return Linear(linear.weights, linear.x - 0.2 * jnp.sign(jnp.asarray(pull, jnp.float32)), linear.y)


def sizes(linear, attack, norm, y=None):
    """The norm of what the attack found, all of which must fool."""
    threat = Threat(NORMS[norm], FAR[norm])
    y = linear.y if y is None else y
    proposal = attack(linear.model, threat, linear.x, y, linear.keys)
    reached = linear.model(proposal.x).argmax(-1)
    assert bool((reached == y.target if isinstance(y, TargetedLabels) else reached != y).all())
    return np.asarray(jax.vmap(threat.length)(linear.x, proposal.x))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_ends_just_beyond_the_nearest_boundary(norm, inner):
    """Of four classes: on a linear model its first step is exact, but for its overshoot."""
    wanted = 1.02 * (nearest(inner, norm) + NUDGE)
    np.testing.assert_allclose(sizes(inner, DeepFool(), norm), wanted, rtol=2e-3)


# Two classes: with more, an attack that climbs a loss need not go towards the nearest class, and these don't all.
@pytest.mark.parametrize(
    ("attack", "norm", "above"),
    [
        (DDN(steps=300), "l2", 0.02),
        (FMN(steps=300), "linf", 0.01),
        (FMN(steps=300), "l2", 0.01),
        (FMN(steps=300), "l1", 0.01),
        (FMN(steps=300), "l0", 0.21),  # one value more of five
        (EAD(steps=500), "l1", 0.08),  # its elastic net also weighs L2
        (CWLinf(steps=300, tau_factor=0.97, tau_smallest=1e-3, c=0.01), "linf", 0.05),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_nearest_boundary_is_found(attack, norm, above):
    linear = deep()
    best, found = nearest(linear, norm), sizes(linear, attack, norm)
    assert (found >= best * (1 - 1e-3)).all()
    assert (found <= best * (1 + above)).all(), found / best


def test_ead_takes_the_smallest_l1_unless_told_otherwise():
    """The descent is the same; of the images that fooled on the way its rule takes one."""
    linear = deep()
    default, elastic = (sizes(linear, EAD(steps=100, rounds=4, **rule), "l1") for rule in ({}, {"rule": "en"}))
    assert (default <= elastic).all() and default.mean() < 0.99 * elastic.mean()
