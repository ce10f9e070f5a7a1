"""Attacks that only see scores: closed forms on linear models, and queries counted to the last one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dct

from advbench.attacks import (
    NORMS,
    SPSA,
    SimBA,
    Square,
    Threat,
    loop,
)
from advbench.attacks.simba import _basis, _begin
from advbench.attacks.square import _pyramids, _sides, _square
from tests.attacks.conftest import SHAPE
from tests.attacks.test_optimum import knapsack

EPS = {"linf": 0.05, "l2": 0.3, "l1": 1.5}


def steady(weights, x):
    """Two classes, the first so far ahead that nothing fools: an attack climbs until its queries are spent."""
    return jnp.stack([-x.reshape(len(x), -1) @ weights, jnp.full(len(x), -60.0)], -1)


def climb(linear, attack, norm, eps):
    """How much of `weights . d` the attack gains on images whose model it can't fool; and what it proposed."""
    weights = linear.weights[:, 0]
    model, y = jax.tree_util.Partial(steady, weights), jnp.zeros(len(linear.x), jnp.int32)
    proposal = attack(model, Threat(NORMS[norm], eps), linear.x, y, linear.keys)
    d = np.asarray(proposal.x - linear.x, np.float64).reshape(len(y), -1)
    return d @ np.asarray(weights, np.float64), d, proposal


def test_square_reaches_the_linf_optimum(boxed):
    """Every pixel's best corner is found, also at the edges of image and box."""
    gain, _, proposal = climb(boxed, Square(queries=1500), "linf", EPS["linf"])
    weights, flat = np.asarray(boxed.weights[:, 0]), np.asarray(boxed.x).reshape(len(boxed.x), -1)
    room = np.minimum(np.where(weights > 0, 1 - flat, flat), EPS["linf"])
    np.testing.assert_allclose(gain, (np.abs(weights) * room).sum(-1), rtol=1e-4)
    np.testing.assert_array_equal(proposal.forwards, 1500)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_square_comes_near_the_optimum_and_never_past_it(norm, inner):
    gain, d, _ = climb(inner, Square(queries=1500), norm, EPS[norm])
    weights, flat = np.asarray(inner.weights[:, 0], np.float64), np.asarray(inner.x, np.float64).reshape(len(d), -1)
    if norm == "l2":
        best = EPS[norm] * np.linalg.norm(weights)
        np.testing.assert_allclose(np.linalg.norm(d, axis=-1), EPS[norm], rtol=1e-5)  # no mass is lost
    else:
        best = np.array([knapsack(weights, x, EPS[norm]) for x in flat])
    assert (gain <= best * (1 + 1e-5)).all()
    assert (gain >= 0.5 * best).all(), gain / best  # pyramids can't follow slopes that are random from pixel to pixel


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.4), ("l1", 0.8)])
def test_more_queries_only_add_to_fewer(norm, eps, boxed):
    """Each query counted is one that was needed: as many fool, one fewer doesn't."""

    def attack(queries):
        threat = Threat(NORMS[norm], eps)
        proposal = Square(queries=queries)(boxed.model, threat, boxed.x, boxed.y, boxed.keys)
        return np.asarray(boxed.model(proposal.x).argmax(-1) != boxed.y), np.asarray(proposal.forwards), proposal.x

    broken, spent, x_adv = attack(400)
    assert 0 < broken.sum() < len(broken) and (spent[~broken] == 400).all()
    late = int(spent[broken].max())
    assert late > 1
    some, again, x_some = attack(late)
    np.testing.assert_array_equal(some, broken)
    np.testing.assert_array_equal(again, np.minimum(spent, late))
    np.testing.assert_allclose(x_some[broken], x_adv[broken], atol=1e-6)
    np.testing.assert_array_equal(attack(late - 1)[0], broken & (spent < late))


def test_batches_that_dwindle_change_nothing(boxed, monkeypatch):
    sizes, take = [], loop._take
    monkeypatch.setattr(loop, "_take", lambda whole, rows: sizes.append(len(rows)) or take(whole, rows))

    def attack(span):
        monkeypatch.setattr(loop, "COMPACT_EVERY", span)
        return Square(queries=400)(boxed.model, Threat(NORMS["linf"], 0.12), boxed.x, boxed.y, boxed.keys)

    whole = attack(400)
    assert not sizes
    parts = attack(40)
    assert sizes[0] == len(boxed.x) // 2
    np.testing.assert_array_equal(parts.forwards, whole.forwards)
    np.testing.assert_allclose(parts.x, whole.x, atol=1e-6)


def test_square_starts_with_stripes_on_corners(inner):
    _, d, _ = climb(inner, Square(queries=1), "linf", 0.05)
    d = d.reshape(-1, *SHAPE)
    np.testing.assert_allclose(np.abs(d), 0.05, atol=1e-6)
    np.testing.assert_allclose(d, np.repeat(d[:, :1], SHAPE[0], axis=1), atol=1e-6)
    assert len(np.unique(np.sign(d).reshape(len(d), -1), axis=0)) > 6


def test_squares_lie_everywhere_alike():
    draws = jax.random.bits(jax.random.key(0), (6000, 2))
    masks = np.asarray(jax.vmap(lambda draw: _square(5, 7, jnp.int32(3), draw)[0])(draws))[..., 0]
    assert (masks.sum((1, 2)) == 9).all()
    corners = masks.reshape(6000, -1).argmax(-1)
    places, counts = np.unique(corners, return_counts=True)
    np.testing.assert_array_equal(places, [7 * i + j for i in range(3) for j in range(5)])
    assert abs(counts - 400).max() < 5 * 400**0.5


def test_shapes_are_the_published_ones():
    assert _sides(0.8, 28, 28, "linf") == (25, 18, 13, 9, 6, 4, 3, 2, 2, 1)
    assert _sides(0.8, 28, 28, "l2") == (25, 19, 13, 9, 7, 5, 3, 3, 3, 3)
    for power in (1, 2):
        for shape in _pyramids((3, 5, 12), power):
            assert (np.abs(shape) ** power).sum() == pytest.approx(1, abs=1e-5)
    low = np.array([1 / 4, 1 + 1 / 4, 1 / 4])  # a pyramid of one row
    low = low / np.linalg.norm(low)
    np.testing.assert_allclose(_pyramids((3,), 2)[0][0], low / 2**0.5, atol=1e-6)
    assert (_pyramids((3,), 2)[0][1:] < 0).all()


def test_rescaled_schedule_shrinks_within_the_queries(inner):
    """With few queries the published schedule never comes to small squares; rescaled it does."""
    plain, stretched = (
        climb(inner, Square(queries=300, rescale=rescale), "linf", 0.05)[0].mean() for rescale in (False, True)
    )
    assert stretched > plain


def test_spsa_climbs_a_slope_it_never_sees(inner):
    steps, samples = 40, 32
    gain, _, proposal = climb(inner, SPSA(steps=steps, samples=samples), "linf", 0.05)
    best = 0.05 * np.abs(np.asarray(inner.weights[:, 0])).sum()
    assert (gain <= best * (1 + 1e-4)).all() and (gain > 0.9 * best).all(), gain / best
    np.testing.assert_array_equal(proposal.forwards, steps * (samples + 1) + 1)
    np.testing.assert_array_equal(proposal.gradients, 0)


def test_spsa_holds_no_more_images_than_it_attacks(inner):
    seen = set()

    def watched(x):
        seen.add(x.shape)
        return steady(inner.weights[:, 0], x)

    model, threat = jax.tree_util.Partial(watched), Threat(NORMS["linf"], 0.05)
    SPSA(steps=1, samples=64)(model, threat, inner.x, 0 * inner.y, inner.keys)
    assert seen == {inner.x.shape}


@pytest.mark.parametrize(("basis", "size"), [("pixel", 0.1), ("dct", 0.01)])
def test_simba_takes_every_direction_the_right_way(basis, size, inner):
    """One pass over the basis moves by `step_size` along each direction, in the sense that gains."""
    pixels = inner.x[0].size
    gain, _, proposal = climb(inner, SimBA(queries=2 * pixels + 1, step_size=size, basis=basis), "l2", 50.0)
    input_gradient = np.asarray(inner.weights[:, 0], np.float64).reshape(SHAPE)
    if basis == "dct":
        input_gradient = dct(dct(input_gradient, axis=0, norm="ortho"), axis=1, norm="ortho")
    assert (gain >= size * np.abs(input_gradient).sum() * (1 - 1e-3)).all()
    np.testing.assert_array_equal(proposal.forwards, 2 * pixels + 1)


def test_simba_stays_in_a_ball_it_runs_into(inner):
    gain, d, _ = climb(inner, SimBA(queries=600), "l2", 0.3)
    assert np.linalg.norm(d, axis=-1).max() <= 0.3 + 1e-6
    assert (gain > 0.7 * 0.3 * np.linalg.norm(np.asarray(inner.weights[:, 0]))).all()


def test_dct_works_up_from_low_frequencies():
    np.testing.assert_allclose(_basis("dct", 9), dct(np.eye(9), axis=0, norm="ortho"), atol=1e-6)
    x = jnp.zeros((2, 32, 32, 3))
    order, _ = _begin(SimBA(basis="dct"), x, jax.random.split(jax.random.key(0), 2))
    order = np.asarray(order)
    assert (np.sort(order) == np.arange(32 * 32 * 3)).all() and (order[0] != order[1]).any()
    highest = np.maximum(order // (32 * 3), order // 3 % 32)
    assert (highest[:, : 5 * 5 * 3] < 5).all() and (np.diff(highest[:, 5 * 5 * 3 :]) >= 0).all()


@pytest.mark.parametrize(
    ("attack", "norm", "says"),
    [
        (Square(queries=0), "linf", "queries >= 1"),
        (Square(p_init=1.5), "linf", "p_init <= 1"),
        (Square(loss="kl"), "linf", "no loss 'kl'"),
        (SPSA(samples=5), "linf", "even number"),
        (SPSA(delta=0.0), "linf", "delta > 0"),
        (SPSA(), "l2", "can't attack in l2"),
        (SimBA(basis="fourier"), "l2", "no basis 'fourier'"),
        (SimBA(step_size=0.0), "l2", "step_size > 0"),
    ],
)
def test_what_cannot_work_is_refused(attack, norm, says):
    with pytest.raises(ValueError, match=says):
        attack.check(Threat(NORMS[norm], 0.1))
