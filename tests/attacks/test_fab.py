"""FAB against linear and quadratic programs: its projections, and the nearest boundary on linear models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from advbench.attacks import (
    FAB,
    NORMS,
    TargetedLabels,
    Threat,
)
from advbench.attacks.fab import Again
from advbench.attacks.hyperplane import distance, project_to_hyperplane
from advbench.attacks.losses import misclassified

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
EVERY = pytest.mark.parametrize("norm", DUAL)
PLENTY = FAB(steps=20, minimise=True)


def shortest(norm, x, w, gap):
    """Norm of the shortest `d` with `gap + w . d >= 0` and `x + d` in the box, by scipy; inf if there is none."""
    n, box = len(x), list(zip(-x, 1 - x, strict=True))
    if norm == "l2":
        found = minimize(
            lambda d: (d**2).sum(),
            np.zeros(n),
            jac=lambda d: 2 * d,
            bounds=box,
            constraints={"type": "ineq", "fun": lambda d: w @ d + gap, "jac": lambda d: w},
            options={"ftol": 1e-12},
        )
        return np.sqrt(found.fun) if found.success else np.inf
    if norm == "l1":  # d = up - down
        ends = [(0, 1 - v) for v in x] + [(0, v) for v in x]
        found = linprog(np.ones(2 * n), A_ub=[-np.concatenate([w, -w])], b_ub=[gap], bounds=ends)
    else:  # the largest |d| is one more variable
        edge = np.concatenate([np.eye(n), -np.eye(n)])
        rows = np.vstack([np.append(-w, 0), np.hstack([edge, -np.ones((2 * n, 1))])])
        found = linprog(
            np.append(np.zeros(n), 1), A_ub=rows, b_ub=np.append(gap, np.zeros(2 * n)), bounds=[*box, (0, None)]
        )
    return found.fun if found.success else np.inf


@EVERY
def test_the_way_to_the_hyperplane_is_the_shortest(norm):
    """Pixels at 0 and 1, slopes of 0 and equal slopes, planes on both sides; every third one out of reach."""
    rng = np.random.default_rng(1)
    x = np.clip(rng.uniform(-0.5, 1.5, (24, 12)), 0, 1).astype(np.float32)
    w = rng.normal(size=x.shape).astype(np.float32)
    w[:, 0], w[:, 1] = 0, w[:, 2]
    gain = np.maximum(-w * x, w * (1 - x)).sum(1), np.maximum(w * x, -w * (1 - x)).sum(1)
    up = rng.random(24) < 0.5
    gap = np.where(up, -1, 1) * np.where(up, *gain) * rng.uniform(0.05, 0.95, 24).astype(np.float32)
    gap[::3] *= 30
    d = np.asarray(
        jax.jit(jax.vmap(project_to_hyperplane, (None, 0, 0, 0)), static_argnums=0)(NORMS[norm], x, w, gap), np.float64
    )
    assert (x + d).min() >= -1e-6 and (x + d).max() <= 1 + 1e-6
    reached = np.abs(gap + (w * d).sum(1)) < 1e-5
    assert not reached[::3].any() and reached[1::3].all() and reached[2::3].all()
    corner = np.where(w * gap[:, None] > 0, -x, np.where(w == 0, 0, 1 - x))
    np.testing.assert_allclose(d[::3], corner[::3], atol=1e-6)
    side = np.sign(gap)[:, None]
    best = [shortest(norm, *row) for row in zip(*np.float64([x]), -side * w, -np.abs(gap), strict=True)]
    size = np.linalg.norm(d, {"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=1)
    np.testing.assert_allclose(size[reached], np.array(best)[reached], rtol=1e-4)


@EVERY
def test_the_way_is_as_long_as_the_distance_where_no_pixel_is_at_its_end(norm):
    w, x = jnp.linspace(-1.0, 2.0, 9), jnp.full(9, 0.5)
    d = project_to_hyperplane(NORMS[norm], x, w, jnp.float32(0.3))
    assert float(NORMS[norm].length(d)) == pytest.approx(float(distance(NORMS[norm], w, jnp.float32(0.3))), rel=1e-5)
    assert float(distance(NORMS[norm], w, jnp.float32(0.3))) == pytest.approx(
        0.3 / np.linalg.norm(w, DUAL[norm]), rel=1e-5
    )


@EVERY
def test_flat_and_steep_models_leave_finite_ways(norm):
    for w in (0.0, 1e-30, 1e30):
        d = project_to_hyperplane(NORMS[norm], jnp.full(4, 0.5), jnp.full(4, w), jnp.float32(1.0))
        assert bool(jnp.isfinite(d).all()) and float(jnp.abs(d).max()) <= 0.5


def sizes(attack, linear, norm, loss_reference=None):
    threat = Threat(NORMS[norm], 50.0)
    proposal = attack(
        linear.model, threat, linear.x, linear.y if loss_reference is None else loss_reference, linear.keys
    )
    assert bool(misclassified(linear.model(proposal.x), linear.y).all())
    return np.asarray(jax.vmap(threat.length)(linear.x, proposal.x)), proposal


@EVERY
def test_the_nearest_boundary_is_found(norm, inner):
    """Targeted at every class or at none; and an image that fools is never nearer than the boundary."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = -inner.margins() / np.linalg.norm(inner.slopes(), DUAL[norm], axis=-1)
    best = np.nanmin(np.where(np.isfinite(distances), distances, np.inf), axis=1)
    found, proposal = sizes(PLENTY, inner, norm)
    assert (found >= best * (1 - 1e-4)).all()
    np.testing.assert_allclose(found, best, rtol=0.01)
    np.testing.assert_array_equal(proposal.gradients, 3 * 20)  # a slope for each class but one, every step
    np.testing.assert_array_equal(proposal.forwards, 2 * 20 + 5)

    aimed, found = FAB(steps=20, minimise=True, targets=3), np.inf
    for run in range(aimed.runs(4)):
        size, proposal = sizes(aimed, inner, norm, aimed.loss_reference(inner.model, inner.x, inner.y, run))
        np.testing.assert_array_equal(proposal.gradients, 20)
        found = np.minimum(found, size)
    np.testing.assert_allclose(found, best, rtol=0.01)


@EVERY
def test_the_box_is_part_of_the_optimum(norm, boxed):
    found, _ = sizes(PLENTY, boxed, norm)
    x = np.asarray(boxed.x, np.float64).reshape(len(boxed.x), -1)
    for i in range(5):
        rivals = [k for k in range(4) if k != int(boxed.y[i])]
        best = min(shortest(norm, x[i], boxed.slopes()[i, k], boxed.margins()[i, k]) for k in rivals)
        assert best * (1 - 1e-3) <= found[i] <= best * 1.02


@EVERY
def test_exactly_the_breakable_fall_and_cost_no_more(norm, inner):
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = -inner.margins() / np.linalg.norm(inner.slopes(), DUAL[norm], axis=-1)
    nearest = np.nanmin(np.where(np.isfinite(distances), distances, np.inf), axis=1)
    eps = float(np.median(nearest))
    proposal = FAB(steps=20)(inner.model, Threat(NORMS[norm], eps), inner.x, inner.y, inner.keys)
    broken = np.asarray(misclassified(inner.model(proposal.x), inner.y))
    assert not broken[nearest > eps * 1.001].any() and broken[nearest < eps * 0.995].all()
    assert (proposal.gradients[~broken] == 60).all()
    assert (proposal.gradients[nearest < eps * 0.9] < 60).all()


def test_restarts_begin_elsewhere(inner):
    attack, threat = FAB(steps=1, restarts=2, targets=2), Threat(NORMS["l2"], 0.2)
    aims = [attack.loss_reference(inner.model, inner.x, inner.y, run) for run in range(attack.runs(4))]
    assert [isinstance(loss_reference, Again) for loss_reference in aims] == [False, True, False, True]
    assert isinstance(aims[0], TargetedLabels)
    np.testing.assert_array_equal(aims[0].target, aims[1].y.target)
    assert (aims[0].target != aims[2].target).all()
    ends = [attack(inner.model, threat, inner.x, loss_reference, inner.keys).x for loss_reference in aims[:2]]
    assert float(jnp.abs(ends[0] - ends[1]).max()) > 1e-3


def test_an_image_that_fools_from_the_start_is_the_nearest(inner):
    wrong = (inner.y + 1) % 4
    proposal = FAB(steps=20)(inner.model, Threat(NORMS["l2"], 0.2), inner.x, wrong, inner.keys)
    np.testing.assert_allclose(proposal.x, inner.x, atol=1e-7)
