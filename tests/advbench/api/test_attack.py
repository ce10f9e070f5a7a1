"""One attack on arrays: what comes back, and that restarts and targets count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import advbench
from advbench.attacks import PGD
from advbench.core.errors import UsageError
from advbench.core.spec import ThreatSpec

from .tiny import linear, noise

SHAPE = (5, 6, 3)
MODEL = linear(SHAPE, 4)
IMAGES, LABELS = noise(SHAPE, 4)
X = IMAGES / np.float32(255)
EPS = 0.01
LINF = {"norm": "linf", "eps": EPS}


def wrong(x):
    return np.asarray(MODEL(jnp.asarray(x))).argmax(1) != LABELS


def test_what_is_broken_is_within_eps_and_all_else_is_as_it_was():
    found = advbench.attack(MODEL, X, LABELS, "fgsm", **LINF)
    broken = wrong(found)
    assert 0 < broken.sum() < len(X) and found.dtype == np.float32
    assert np.abs(found - X).max() <= EPS + 1e-6 and found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(found[~broken], X[~broken])
    assert (found[broken] != X[broken]).any((1, 2, 3)).all()


def test_pixels_that_are_no_bytes_are_not_rounded():
    between = np.clip(X + np.float32(0.4 / 255), 0, 1)
    found = advbench.attack(MODEL, between, LABELS, "fgsm", norm="linf", eps=1e-4)
    assert np.abs(found - between).max() <= 1e-4 + 1e-6


def test_the_linear_optimum_is_found_by_text_and_by_object():
    from_text = advbench.attack(MODEL, X, LABELS, "pgd:steps=20,rel_step_size=0.1", **LINF)
    from_object = advbench.attack(MODEL, X, LABELS, PGD(steps=20, rel_step_size=0.1), **LINF)
    np.testing.assert_array_equal(from_text, from_object)


def test_targets_and_restarts_are_honoured():
    untargeted = advbench.attack(MODEL, X, LABELS, "fgsm", **LINF)
    every = PGD(steps=20, rel_step_size=0.1, loss="margin", targets=3, restarts=2)
    assert wrong(advbench.attack(MODEL, X, LABELS, every, **LINF)).sum() >= wrong(untargeted).sum()


def test_an_attack_that_aims_says_so_where_it_gets_labels():
    threat = ThreatSpec.parse("linf", "0.01").threat
    keys = jax.random.split(jax.random.key(0), len(X))
    with pytest.raises(ValueError, match=r"call advbench\.attack"):
        PGD(targets=2)(MODEL, threat, jnp.asarray(X), jnp.asarray(LABELS), keys)


def test_arrays_come_back_as_they_came():
    first = np.moveaxis(X, -1, 1)
    found = advbench.attack(MODEL, first, LABELS, "fgsm", **LINF)
    assert found.shape == first.shape
    np.testing.assert_array_equal(np.moveaxis(found, 1, -1), advbench.attack(MODEL, X, LABELS, "fgsm", **LINF))
    assert isinstance(advbench.attack(MODEL, jnp.asarray(X), jnp.asarray(LABELS), "fgsm", **LINF), jax.Array)
    assert advbench.attack(MODEL, IMAGES, LABELS, "fgsm", **LINF).dtype == np.float32


@pytest.mark.parametrize(
    ("images", "attack", "threat", "message"),
    [
        (X, PGD(steps=2), LINF, "can't reach the edge"),
        (X, "fgsm", {"norm": "linf", "eps": "8/255,0.1"}, "one eps"),
        (X * 255, "fgsm", LINF, "divide by 255"),
        (X, "ddn", LINF, "linf"),
    ],
)
def test_mistakes_are_told(images, attack, threat, message):
    with pytest.raises(UsageError, match=message):
        advbench.attack(MODEL, images, LABELS, attack, **threat)
