"""Geometry of the norms: projections, steepest directions, samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from advbench.attacks import NORMS, Threat

SHAPE = (3, 2, 2)
BALLS = {name: NORMS[name] for name in ("linf", "l2", "l1")}
EVERY = pytest.mark.parametrize("norm", BALLS.values(), ids=BALLS)


def image(seed: int, low: float = 0.0, high: float = 1.0) -> jax.Array:
    return jnp.clip(jax.random.uniform(jax.random.key(seed), SHAPE, minval=low, maxval=high), 0.0, 1.0)


@EVERY
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), eps=st.sampled_from([0.0, 1e-3, 0.1, 0.5, 2.0, 20.0]))
def test_projection_lands_in_ball_and_box_and_stays_there(norm, seed, eps):
    threat = Threat(norm, eps)
    x0, x = image(seed, -0.5, 1.5), image(seed + 1) * 6 - 3
    once = threat.project(x0, x)
    assert float(threat.length(x0, once)) <= eps * (1 + 1e-6) + 1e-6
    assert float(once.min()) >= 0.0 and float(once.max()) <= 1.0
    np.testing.assert_allclose(threat.project(x0, once), once, atol=2e-6)


@EVERY
def test_a_point_inside_is_left_alone(norm):
    x0, d = image(1, 0.4, 0.6), image(2) - 0.5
    inside = x0 + 0.2 * d / norm.length(d)
    np.testing.assert_allclose(Threat(norm, 0.3).project(x0, inside), inside, atol=1e-7)


@EVERY
@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_projection_is_the_nearest_allowed_point(norm, eps):
    if norm.name == "l2":
        x0, d = image(3, 0.45, 0.55), 0.4 * (image(4) - 0.5)  # the box does not bind: there it is only near
    else:
        x0, d = image(3, -0.3, 1.3), 3 * (image(4) - 0.5)
    low, high = -np.asarray(x0, np.float64).ravel(), 1 - np.asarray(x0, np.float64).ravel()
    d64 = np.asarray(d, np.float64).ravel()
    ours = np.asarray(norm.project(d, eps, -x0, 1 - x0), np.float64).ravel()
    # positive and negative parts make the L1 ball smooth for the solver
    size = {"linf": None, "l2": lambda p: eps**2 - (p**2).sum(), "l1": None}[norm.name]
    if norm.name == "l1":
        n = d64.size
        best = minimize(
            lambda p: ((p[:n] - p[n:] - d64) ** 2).sum(),
            np.zeros(2 * n),
            bounds=[(0, max(h, 0)) for h in high] + [(0, max(-v, 0)) for v in low],
            constraints={"type": "ineq", "fun": lambda p: eps - p.sum()},
        )
        nearest = best.x[:n] - best.x[n:]
    else:
        reach = eps if norm.name == "linf" else np.inf
        best = minimize(
            lambda p: ((p - d64) ** 2).sum(),
            np.zeros_like(d64),
            bounds=list(zip(np.maximum(low, -reach), np.minimum(high, reach), strict=True)),
            constraints={"type": "ineq", "fun": size} if size else (),
        )
        nearest = best.x
    assert ((ours - d64) ** 2).sum() <= ((nearest - d64) ** 2).sum() + 1e-5


@EVERY
def test_steepest_direction_has_norm_one_and_climbs(norm):
    g = image(5) - 0.5
    direction = norm.steepest(g)
    assert float(norm.length(direction)) == pytest.approx(1.0, abs=1e-6)
    assert float((direction * g).sum()) > 0
    np.testing.assert_array_equal(norm.steepest(jnp.zeros(SHAPE)), jnp.zeros(SHAPE))


def test_linf_and_l2_steepest_reach_the_dual_norm():
    g = image(6) - 0.5
    assert float((NORMS["linf"].steepest(g) * g).sum()) == pytest.approx(float(jnp.abs(g).sum()), rel=1e-6)
    assert float((NORMS["l2"].steepest(g) * g).sum()) == pytest.approx(float(jnp.sqrt((g * g).sum())), rel=1e-6)


@EVERY
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_steepest_is_blind_to_scale(norm, scale):
    g = image(7) - 0.5
    np.testing.assert_allclose(norm.steepest(g * scale), norm.steepest(g), atol=1e-6)


@EVERY
def test_samples_fill_the_ball_uniformly(norm):
    draws = jax.vmap(lambda key: norm.sample(key, jnp.zeros(SHAPE)))(jax.random.split(jax.random.key(0), 4000))
    sizes = np.asarray(jax.vmap(norm.length)(draws))
    assert sizes.max() <= 1 + 1e-6
    # in d dimensions the share of the ball within radius r is r^d
    d = int(np.prod(SHAPE))
    for share in (0.25, 0.5, 0.75):
        assert (sizes <= share ** (1 / d)).mean() == pytest.approx(share, abs=0.03)
    assert np.abs(np.asarray(draws).mean(0)).max() < 0.05


@EVERY
def test_a_step_ignores_what_is_not_finite_and_what_the_box_blocks(norm):
    threat, x0 = Threat(norm, 0.3), jnp.full(SHAPE, 0.5).at[0, 0, 0].set(1.0)
    g = jnp.zeros(SHAPE).at[0, 0, 0].set(100.0).at[1, 0, 0].set(1.0).at[2, 0, 0].set(jnp.nan)
    moved = threat.step(x0, x0, g, 1.0)
    assert bool(jnp.isfinite(moved).all())
    assert float(moved[1, 0, 0]) == pytest.approx(0.8, abs=1e-6)  # the whole budget
    assert float(moved[2, 0, 0]) == 0.5 and float(moved[0, 0, 0]) == 1.0


@EVERY
def test_no_allowed_pixel_lies_out_of_reach(norm):
    threat, x0 = Threat(norm, 0.4), image(8)
    low, high = threat.pixel_bounds(x0)
    for seed in range(20):
        x = threat.start(jax.random.key(seed), x0)
        assert bool((x >= low - 1e-6).all() and (x <= high + 1e-6).all())


@pytest.mark.parametrize("eps", [0.0, 1.0, 5.0, 12.0])
def test_l0_keeps_the_largest_changes_and_no_more(eps):
    threat, x0, x = Threat(NORMS["l0"], eps), image(9, -0.3, 1.3), image(10) * 3 - 1
    d = np.asarray(threat.project(x0, x) - x0)
    wanted = np.clip(np.asarray(x), 0, 1) - np.asarray(x0)
    kept = np.abs(d) > 1e-6
    assert kept.sum() <= eps == float(threat.length(x0, x0)) + eps
    np.testing.assert_allclose(d[kept], wanted[kept], atol=1e-6)
    assert not kept.any() or np.abs(wanted[kept]).min() >= np.abs(wanted[~kept]).max(initial=0.0)
    assert kept.sum() == min(eps, (np.abs(wanted) > 1e-6).sum())


def test_l0_and_anything_step_along_one_value_and_along_all():
    g = image(11) - 0.5
    single = np.asarray(NORMS["l0"].steepest(g))
    assert (
        np.count_nonzero(single) == 1
        and single.ravel()[np.abs(np.asarray(g)).argmax()] == np.sign(g).ravel()[np.abs(np.asarray(g)).argmax()]
    )
    x0 = image(12)
    everywhere = Threat(NORMS["any"], 1.0).step(x0, x0, g, 1.0)
    np.testing.assert_array_equal(everywhere, (np.asarray(g) > 0).astype(np.float32))
