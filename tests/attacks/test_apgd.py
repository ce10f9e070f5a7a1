"""Auto-PGD: the optimum on linear models, and the published rules, each by itself."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import APGD, NORMS, Threat
from advbench.attacks.apgd import Iterate, State, StepSize
from advbench.attacks.apgd_l1 import SparseStepSize, _largest

from .conftest import Linear
from .test_optimum import DUAL, EVERY, gained, knapsack

EPS = {"linf": 0.05, "l2": 0.3, "l1": 1.5}
HALF = {"linf": 0.068, "l2": 0.36, "l1": 0.9}  # about what it takes to break half of the images
APGD_MARGIN = APGD(loss="margin")  # one compilation serves all tests
ON = replace(APGD_MARGIN, keep=False)  # past the boundary, to the optimum


def two(linear):
    """The same images between the first two classes, so that the margin is linear."""
    label = linear.model(linear.x)[:, :2].argmax(-1).astype(jnp.int32)
    return Linear(linear.weights[:, :2], linear.x, label)


def climbed(attack, linear, norm, eps):
    """What was gained on the label, and the slope and pixels it was gained on."""
    linear, other = two(linear), 1 - np.asarray(two(linear).y)
    proposal = attack(linear.model, Threat(NORMS[norm], eps), linear.x, linear.y, linear.keys)
    slopes = linear.slopes()[np.arange(len(other)), other]
    return gained(linear, proposal.x, other), slopes, np.asarray(linear.x, np.float64).reshape(len(other), -1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_reaches_the_closed_form_gain(norm, inner):
    gain, slopes, _ = climbed(ON, inner, norm, EPS[norm])
    np.testing.assert_allclose(gain, EPS[norm] * np.linalg.norm(slopes, DUAL[norm], axis=-1), rtol=1e-3)


@pytest.mark.parametrize("norm", EPS)
def test_the_box_is_part_of_the_optimum(norm, boxed):
    """In L1 equal steps of two pixels are projected back to where they began: the optimum is come near only."""
    eps, best = EPS[norm], {"linf": cube, "l2": filled, "l1": knapsack}[norm]
    for attack in (ON, replace(ON, large_eps=True)) if norm == "l1" else (ON,):
        gain, slopes, x = climbed(attack, boxed, norm, eps)
        most = [best(input_gradient, x, eps) for input_gradient, x in zip(slopes, x, strict=True)]
        np.testing.assert_allclose(gain, most, rtol={"linf": 1e-4, "l2": 1e-2, "l1": 5e-2}[norm])


def cube(input_gradient, x, eps):
    """Most gain of `input_gradient . d` with |d|_inf <= eps and x + d in [0, 1]."""
    return (np.abs(input_gradient) * np.minimum(np.where(input_gradient > 0, 1 - x, x), eps)).sum()


def filled(input_gradient, x, eps):
    """Most gain of `input_gradient . d` with |d|_2 <= eps and x + d in [0, 1]: along it, each pixel up to its room."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        d = np.clip(middle * input_gradient, -x, 1 - x)
        low, high = (middle, high) if np.linalg.norm(d) <= eps else (low, middle)
    return input_gradient @ np.clip(low * input_gradient, -x, 1 - x)


@EVERY
def test_breaks_exactly_the_breakable(norm, boxed):
    """By the same optimum, at an eps that is enough for half of the images; others cost every step."""
    eps, best = HALF[norm], {"linf": cube, "l2": filled, "l1": knapsack}[norm]
    linear = two(boxed)
    other = 1 - np.asarray(linear.y)
    slopes, x = linear.slopes()[np.arange(12), other], np.asarray(linear.x, np.float64).reshape(12, -1)
    needed = -linear.margins()[np.arange(12), other]
    within = np.array([best(input_gradient, x, eps) for input_gradient, x in zip(slopes, x, strict=True)]) / needed
    found = APGD_MARGIN(linear.model, Threat(NORMS[norm], eps), linear.x, linear.y, linear.keys)
    broken, gradients = np.asarray(linear.model(found.x).argmax(-1) != linear.y), np.asarray(found.gradients)
    assert 3 <= (within < 1).sum() <= 9
    assert not broken[within < 0.999].any() and broken[within > 1.05].all()
    assert (gradients[~broken] == 101).all() and gradients[broken].max() < 101


def test_large_eps_spends_the_same_steps(boxed):
    """Three stages of 4, 4 and 4 steps, each with a look at where it begins; only in the last may an image stop."""
    linear, attack = two(boxed), replace(APGD_MARGIN, steps=12, large_eps=True)
    for eps, spent in ((1e-3, 15), (25.0, 11)):
        found = attack(linear.model, Threat(NORMS["l1"], eps), linear.x, linear.y, linear.keys)
        np.testing.assert_array_equal(found.gradients, spent)


@pytest.mark.parametrize("value", [0.0, np.nan])
@EVERY
def test_nothing_to_climb_is_survived(norm, value, inner):
    """Constant logits, and logits that are not numbers."""
    flat = Linear(jnp.full((50, 2), value), inner.x, jnp.zeros_like(inner.y))
    found = replace(APGD_MARGIN, steps=12)(flat.model, Threat(NORMS[norm], 0.1), flat.x, flat.y, flat.keys)
    assert bool(jnp.isfinite(found.x).all()) and bool((found.gradients == 13).all())


def point(loss):
    return Iterate(jnp.zeros(1), jnp.zeros(1), jnp.float32(loss))


def reviewed(gains, attack):
    """Sizes of the steps, and at which the image went back, for a loss that rises or not as told."""
    step_size, loss, best = StepSize.begin(attack.steps), 0.0, 0.0
    update = jax.jit(lambda step_size, best, rose: step_size.update(attack, jnp.zeros(1), best, rose))
    sizes, back, looked = [], [], []
    step_size, _ = update(step_size, point(0.0), False)
    for step, gain in enumerate(gains, 1):
        loss += gain
        best = max(best, loss)
        step_size, restart = update(step_size, point(best), gain > 0)
        sizes.append(float(step_size.size))
        back += [step] if restart else []
        looked += [step] if step_size.steps == 0 else []
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
    step_size = SparseStepSize(jnp.float32(0.5), jnp.float32(4), jnp.float32(9), jnp.int32(0))
    x = inner.x[0]
    moved = np.asarray(
        step_size.move(Threat(NORMS["l1"], 0.2), x, Iterate(x, g, jnp.float32(0)), x, jnp.bool_(True)) - x
    )
    assert (moved != 0).sum() == 4
    np.testing.assert_allclose(np.abs(moved[moved != 0]), 0.5 * 0.2 / 4, rtol=1e-3)


@pytest.mark.parametrize(("changed", "size", "back"), [(9, 1.0, True), (19, 1 / 3, False)])
def test_l1_follows_how_sparse_the_best_point_is(changed, size, back):
    """Fewer than 95 % of the values changed before: full steps from the best point; else steps shrink by 1.5."""
    x0 = jnp.zeros(50)
    step_size = SparseStepSize(jnp.float32(0.5), jnp.float32(10), jnp.float32(20), jnp.int32(3))
    best = Iterate(x0.at[:changed].set(0.1), x0, jnp.float32(1))
    later, restart = step_size.update(APGD(), x0, best, jnp.bool_(True))
    assert float(later.size) == pytest.approx(size) and bool(restart) == back
    assert float(later.few) == pytest.approx(changed / 1.5) and float(later.spread) == changed
    soon, restart = step_size._replace(steps=jnp.int32(1)).update(APGD(), x0, best, jnp.bool_(True))
    assert not restart and float(soon.size) == 0.5


def test_after_a_restart_the_momentum_is_of_the_best_point():
    """Two looks without a slope, so that all that moves is momentum; at the first one the loss has stalled."""
    x0, none = jnp.full((1, 1, 2), 0.5), jnp.zeros((1, 1, 2))
    best, last, here = (x0 + jnp.array(d) for d in ([0.1, 0.0], [0.0, 0.04], [-0.1, 0.1]))
    step_size = StepSize.begin(100)._replace(steps=jnp.int32(21))
    state = State(
        here, last, jnp.float32(3), Iterate(best, none, jnp.float32(3)), step_size, jnp.bool_(False), jnp.int32(22)
    )
    advance = jax.jit(
        lambda x, loss, state: APGD()._advance(threat, x0, Iterate(x, none, loss), jnp.bool_(False), state)
    )
    threat = Threat(NORMS["l2"], 0.4)
    state = advance(here, jnp.float32(1), state)
    np.testing.assert_allclose(state.x, best + 0.25 * (best - last), atol=1e-6)
    after = advance(state.x, jnp.float32(2), state)
    np.testing.assert_allclose(after.x, state.x + 0.25 * (state.x - best), atol=1e-6)
    assert float(after.step_size.rises) == 1  # above the point that was left, as the authors count
