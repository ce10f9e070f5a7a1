"""Attacks that see only decisions: on linear models they must come near the boundary that mathematics gives."""

import jax
import numpy as np
import pytest

from advbench.attacks import NORMS, Boundary, HopSkipJump, RayS, Threat
from tests.attacks.conftest import make

FAR = {"linf": 1.0, "l2": 99.0}
DUAL = {"linf": 1, "l2": 2}
ATTACKS = {
    "boundary": (Boundary(steps=6000), "l2", 1.15),
    "hopskipjump-l2": (HopSkipJump(steps=25), "l2", 1.05),
    "hopskipjump-linf": (HopSkipJump(steps=25), "linf", 1.1),
    "rays": (RayS(queries=3000, early_stop=False), "linf", 1.02),
}
EVERY = pytest.mark.parametrize("name", ATTACKS)


@pytest.fixture(scope="module")
def two():
    """Two classes: a single boundary, so that no walk can settle at a farther one."""
    return make(0.4, 0.6, classes=2)


def decisions(weights, x):
    """The linear model, as one sees it who is told the class alone."""
    z = x.reshape(len(x), -1) @ weights
    return jax.nn.one_hot(z.argmax(-1), z.shape[-1])


def attacked(attack, norm, linear, model=None):
    return attack(model or linear.model, Threat(NORMS[norm], FAR[norm]), linear.x, linear.y, linear.keys)


@EVERY
def test_the_nearest_boundary_is_found_and_decisions_are_all_it_takes(name, two):
    attack, norm, factor = ATTACKS[name]
    found = attacked(attack, norm, two)
    other = 1 - np.asarray(two.y)
    lead, slopes = (a[np.arange(len(other)), other] for a in (two.margins(), two.slopes()))
    best = -lead / np.linalg.norm(slopes, DUAL[norm], axis=-1)
    d = np.asarray(found.x - two.x, np.float64).reshape(len(other), -1)
    sizes = np.linalg.norm(d, np.inf if norm == "linf" else 2, axis=-1)
    print(name, sizes / best)
    assert (np.asarray(two.model(found.x)).argmax(-1) == other).all()
    assert (sizes >= best * (1 - 1e-4)).all()
    assert (sizes <= best * factor).all(), sizes / best

    blind = attacked(attack, norm, two, jax.tree_util.Partial(decisions, two.weights))
    np.testing.assert_array_equal(blind.x, found.x)
    np.testing.assert_array_equal(blind.forwards, found.forwards)
