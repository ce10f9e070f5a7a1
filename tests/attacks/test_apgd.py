"""Auto-PGD: the optimum on linear models, and the published rules, each by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import APGD, NORMS, Threat
from advbench.attacks.apgd import Pace, Point
from advbench.attacks.apgd_l1 import SparsePace, _largest

from .conftest import Linear, make
from .test_optimum import DUAL, EVERY, gained, knapsack

EPS = {"linf": 0.05, "l2": 0.3, "l1": 1.5}
MARGIN = APGD(loss="margin", keep=False)  # two classes: linear


def climbed(attack, linear, norm, eps):
    """What was gained on the label, and the slope and pixels it was gained on."""
    linear = Linear(linear.weights[:, :2], linear.x, linear.model(linear.x)[:, :2].argmax(-1).astype(jnp.int32))
    other = 1 - np.asarray(linear.y)
    proposal = attack(linear.model, Threat(NORMS[norm], eps), linear.x, linear.y, linear.keys)
    slopes = linear.slopes()[np.arange(len(other)), other]
    return gained(linear, proposal.x, other), slopes, np.asarray(linear.x, np.float64).reshape(len(other), -1)


@EVERY
def test_reaches_the_closed_form_gain(norm, inner):
    eps = EPS[norm] if norm != "l1" else 0.3  # one pixel has room for it
    gain, slopes, _ = climbed(MARGIN, inner, norm, eps)
    np.testing.assert_allclose(gain, eps * np.linalg.norm(slopes, DUAL[norm], axis=-1), rtol=1e-3)


def test_the_box_is_part_of_the_optimum(boxed):
    gain, slopes, x = climbed(MARGIN, boxed, "linf", EPS["linf"])
    room = np.minimum(np.where(slopes > 0, 1 - x, x), EPS["linf"])
    np.testing.assert_allclose(gain, (np.abs(slopes) * room).sum(-1), rtol=1e-4)

    gain, slopes, x = climbed(MARGIN, boxed, "l2", EPS["l2"])
    np.testing.assert_allclose(gain, [filled(s, x, EPS["l2"]) for s, x in zip(slopes, x, strict=True)], rtol=1e-2)

    for attack in (MARGIN, APGD(loss="margin", keep=False, large_eps=True)):
        gain, slopes, x = climbed(attack, boxed, "l1", EPS["l1"])
        np.testing.assert_allclose(gain, [knapsack(s, x, EPS["l1"]) for s, x in zip(slopes, x, strict=True)], rtol=1e-2)


def filled(slope, x, eps):
    """Most gain of `slope . d` with |d|_2 <= eps and x + d in [0, 1]: along the slope, each pixel up to its room."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        d = np.clip(middle * slope, -x, 1 - x)
        low, high = (middle, high) if np.linalg.norm(d) <= eps else (low, middle)
    return slope @ np.clip(low * slope, -x, 1 - x)


@EVERY
def test_breaks_exactly_the_breakable(norm):
    linear = make(0.4, 0.6, classes=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = -linear.margins() / np.linalg.norm(linear.slopes(), DUAL[norm], axis=-1)
    nearest = np.nanmin(np.where(np.isfinite(distances), distances, np.inf), axis=1)
    eps = float(np.median(nearest))
    found = APGD()(linear.model, Threat(NORMS[norm], eps), linear.x, linear.y, linear.keys)
    broken = np.asarray(linear.model(found.x).argmax(-1) != linear.y)
    assert not broken[nearest > eps * 1.001].any() and broken[nearest < eps * 0.99].all()
    gradients = np.asarray(found.gradients)
    assert (gradients[~broken] == 101).all() and (gradients[broken] <= 101).all() and gradients[broken].min() < 50


def test_large_eps_spends_the_same_steps(boxed):
    """Three stages of 4, 4 and 4 steps, each with a look at where it begins; only in the last may an image stop."""
    attack = APGD(loss="margin", steps=12, large_eps=True)
    for eps, spent in ((1e-3, 15), (25.0, 11)):
        found = attack(boxed.model, Threat(NORMS["l1"], eps), boxed.x, boxed.y, boxed.keys)
        np.testing.assert_array_equal(found.gradients, spent)


def test_nothing_to_climb_is_survived():
    """Constant logits, and logits that are not numbers."""
    x, y = jnp.full((3, 4, 4, 1), 0.5), jnp.zeros(3, jnp.int32)
    for value in (0.0, jnp.nan):
        model = jax.tree_util.Partial(
            lambda v, x: jnp.stack([1 + v + 0 * x.sum((1, 2, 3)), 0 * x[:, 0, 0, 0]], -1), value
        )
        for norm in EPS:
            found = APGD(steps=12)(model, Threat(NORMS[norm], 0.1), x, y, jax.random.split(jax.random.key(0), 3))
            assert bool(jnp.isfinite(found.x).all()) and bool((found.gradients == 13).all())


def point(loss):
    return Point(jnp.zeros(1), jnp.zeros(1), jnp.float32(loss))


def reviewed(gains, attack):
    """Sizes of the steps, and at which the image went back, for a loss that rises or not as told."""
    pace, loss, best = Pace.begin(attack.steps), 0.0, 0.0
    review = jax.jit(lambda pace, best, rose: pace.review(attack, jnp.zeros(1), best, rose))
    sizes, back, looked = [], [], []
    pace, _ = review(pace, point(0.0), False)
    for step, gain in enumerate(gains, 1):
        loss += gain
        best = max(best, loss)
        pace, restart = review(pace, point(best), gain > 0)
        sizes.append(float(pace.size))
        back += [step] if restart else []
        looked += [step] if pace.steps == 0 else []
    return sizes, back, looked


def test_checkpoints_are_those_published():
    """0.22 n, then 0.03 n nearer each time, never nearer than 0.06 n."""
    _, back, looked = reviewed([-1.0] * 100, APGD())
    assert looked == [22, 41, 57, 70, 80, 87, 93, 99] and back == looked
    assert reviewed([-1.0] * 10, APGD(steps=10))[2] == [2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_steps_halve_when_the_loss_rises_too_rarely():
    """At the first checkpoint 16 rises of 22 are too few, 17 are not: 0.75 of them is 16.5."""
    for rises, size in ((16, 1.0), (17, 2.0)):
        sizes, back, _ = reviewed([1.0] * rises + [-0.1] * (22 - rises), APGD())
        assert sizes[20] == 2.0 and sizes[21] == size and back == [22] * (rises == 16)


def test_steps_halve_when_the_best_loss_stalls_at_an_unchanged_step():
    """Up to the first checkpoint, then a fall and a climb that stays below the best."""
    gains = [1.0] * 22 + [-10.0] + [0.1] * 18
    sizes, back, looked = reviewed(gains, APGD())
    assert looked == [22, 41] and back == [41] and sizes[-1] == 1.0
    sizes, back, _ = reviewed([-1.0] * 22 + [-10.0] + [0.1] * 18, APGD())  # just halved: given another chance
    assert back == [22] and sizes[-1] == 1.0


def test_l1_moves_the_largest_slopes_by_equal_steps(inner):
    rng = np.random.default_rng(0)
    g = jnp.asarray(rng.normal(size=(5, 5, 2)) * 10.0 ** rng.integers(-6, 1, (5, 5, 2)), jnp.float32)
    for few, kept in ((0.0, 1), (1.0, 1), (6.2, 7), (50.0, 50)):
        mask = np.asarray(_largest(jnp.abs(g), jnp.float32(few)))
        order = np.sort(np.abs(np.asarray(g)).ravel())[::-1]
        np.testing.assert_array_equal(mask, np.abs(np.asarray(g)) >= order[kept - 1])
    pace = SparsePace(jnp.float32(0.5), jnp.float32(4), jnp.float32(9), jnp.int32(0))
    x = inner.x[0]
    moved = np.asarray(pace.move(Threat(NORMS["l1"], 0.2), x, Point(x, g, jnp.float32(0)), x, jnp.bool_(True)) - x)
    assert (moved != 0).sum() == 4
    np.testing.assert_allclose(np.abs(moved[moved != 0]), 0.5 * 0.2 / 4, rtol=1e-3)


@pytest.mark.parametrize(("changed", "size", "back"), [(9, 1.0, True), (19, 1 / 3, False)])
def test_l1_follows_how_sparse_the_best_point_is(changed, size, back):
    """Fewer than 95 % of the values changed before: full steps from the best point; else steps shrink by 1.5."""
    x0 = jnp.zeros(50)
    pace = SparsePace(jnp.float32(0.5), jnp.float32(10), jnp.float32(20), jnp.int32(3))
    best = Point(x0.at[:changed].set(0.1), x0, jnp.float32(1))
    later, restart = pace.review(APGD(), x0, best, jnp.bool_(True))
    assert float(later.size) == pytest.approx(size) and bool(restart) == back
    assert float(later.few) == pytest.approx(changed / 1.5) and float(later.spread) == changed
    soon, restart = pace._replace(steps=jnp.int32(1)).review(APGD(), x0, best, jnp.bool_(True))
    assert not restart and float(soon.size) == 0.5
