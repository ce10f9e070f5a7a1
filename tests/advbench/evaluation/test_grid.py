"""Pixels in steps: what an attack sees is what is judged, and lies in the ball."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks.spec import AttackSpec
from advbench.core.dataset import Dataset
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.evaluation import evaluate
from advbench.evaluation.grid import Grid, OnGrid, on_steps, within_steps
from advbench.evaluation.judge import measure

SHAPE, N = (5, 5, 1), 48
W = np.random.default_rng(3).normal(size=25)


@jax.tree_util.Partial
def linear(x):
    """Two logits."""
    lead = x.reshape(len(x), -1) @ jnp.asarray(W, jnp.float32)
    return jnp.stack([0 * lead, lead - W.sum() / 2], 1)


@jax.tree_util.Partial
def eight_bits(x):
    """What a target makes of images: whole steps of white, and then its logits, without a gradient."""
    return linear(jnp.round(x * 255) / 255)


@pytest.fixture(scope="module")
def data():
    images = np.random.default_rng(4).integers(0, 256, (N, *SHAPE), dtype=np.uint8)
    labels = np.asarray(eight_bits(images / np.float32(255))).argmax(1).astype(np.int32)
    return Dataset("noise", "test", images, labels, ("a", "b"), "made here", "data", N)


def leads(images):
    return images.reshape(len(images), -1) / 255 @ W - W.sum() / 2


def most(images, norm, eps):
    """How far the lead can fall of whole steps: in L1 exactly, the heaviest pixels first; in L2 at most so far."""
    if norm == "l2":
        return np.full(len(images), eps * np.linalg.norm(W))
    order = np.argsort(-np.abs(W))
    falls = []
    for image, lead in zip(images.reshape(len(images), -1).astype(int), leads(images), strict=True):
        down = np.where((W > 0) == (lead > 0), image, 255 - image)[order]  # room on the side that lowers the lead
        left = np.clip(round(eps * 255) - np.concatenate([[0], np.cumsum(down)[:-1]]), 0, down)
        falls.append((left * np.abs(W)[order]).sum() / 255)
    return np.array(falls)


@pytest.mark.parametrize(
    ("norm", "eps", "attack"),
    [
        *(
            ("l1", "60/255", each)
            for each in ("square:queries=60,rescale=true", "pgd:steps=20,rel_step_size=0.1,loss=margin")
        ),
        *(("l2", "40/255", each) for each in ("square:queries=60,rescale=true", "hopskipjump:steps=2", "fmn:steps=20")),
    ],
)
def test_nothing_that_an_attack_saw_is_undone_and_nothing_falls_that_can_not(data, norm, eps, attack):
    threat = ThreatSpec.parse(norm, eps)
    climbs = attack.startswith(("pgd", "fmn"))
    model = LoadedModel("steps", linear if climbs else eight_bits, SHAPE, 2, None, "digest", levels=255)
    result = evaluate(model, data, range(N), [AttackSpec.parse(attack, threat)], threat, seed=0, batch_size=N)
    (report,) = result.attacks
    assert report.claimed == report.broke > 0 and report.undone == report.out_of_bounds == 0
    possible = np.abs(leads(data.images)) <= most(data.images, norm, float(threat.eps)) + 1e-9
    fell = np.array([not row.robust for row in result.rows])
    assert not (fell & ~possible).any()
    assert fell.sum() >= 0.5 * possible.sum()
    assert max(row.distance for row in result.rows if not row.robust) <= float(threat.eps) + 1e-6


@pytest.mark.parametrize(("norm", "eps"), [("linf", "0.031"), ("l2", "0.5"), ("l1", "3"), ("l0", "20")])
def test_snapping_stays_in_the_ball_and_moves_each_value_less_than_a_step(norm, eps):
    threat, rng = within_steps(ThreatSpec.parse(norm, eps), 255), np.random.default_rng(0)
    x = rng.integers(0, 256, (50, 8, 8, 3)) / np.float32(255)
    d = rng.normal(size=x.shape)
    size = np.linalg.norm(d.reshape(50, -1), ord={"linf": np.inf, "l2": 2, "l1": 1, "l0": 2}[norm], axis=1)
    x_adv = np.clip(x + d * (float(threat.eps) / size)[:, None, None, None], 0, 1).astype(np.float32)
    if norm == "l0":
        x_adv = np.where(rng.random(x.shape) < 20 / 400, x_adv, x).astype(np.float32)
    grid = Grid.of(threat, jnp.asarray(x), 255)
    snapped = np.asarray(on_steps(grid, jnp.asarray(x_adv)))
    assert measure(threat, x, snapped)[0][measure(threat, x, x_adv)[0]].all()
    np.testing.assert_allclose(snapped * 255, np.rint(snapped * 255), atol=1e-4)
    assert np.abs(snapped - x_adv).max() < 1 / 255
    assert (np.abs(snapped - x_adv) <= 0.5 / 255 + 1e-6).mean() > 0.8
    np.testing.assert_array_equal(on_steps(grid, jnp.asarray(snapped)), snapped)


def test_clean_images_stay_as_they_are():
    x = jnp.asarray((np.arange(256) / np.float32(255)).reshape(1, 16, 16, 1))
    for norm in ("linf", "l2", "l1"):
        np.testing.assert_array_equal(on_steps(Grid.of(ThreatSpec.parse(norm, "8/255"), x, 255), x), x)


def test_an_image_outside_of_the_ball_goes_to_the_nearest_steps():
    x, far = jnp.zeros((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 9.7 / 255)
    np.testing.assert_allclose(on_steps(Grid.of(ThreatSpec.parse("l1", "8/255"), x, 255), far) * 255, 10, rtol=1e-6)


def test_gradients_go_straight_through_the_steps():
    x = jnp.full((1, *SHAPE), 100 / 255)
    model = OnGrid(lambda x: x.reshape(1, -1) @ jnp.asarray(W)[:, None], Grid.of(ThreatSpec.parse("l2", "0.1"), x, 255))
    near = x + 0.3 / 255
    np.testing.assert_allclose(model(near), model(x))
    np.testing.assert_allclose(jax.grad(lambda x: model(x).sum())(near).ravel(), W, rtol=1e-6)


def test_an_eps_between_steps_is_searched_at_the_step_below():
    assert within_steps(ThreatSpec.parse("linf", "0.3"), 255).eps.value * 255 == 76
    assert within_steps(ThreatSpec.parse("linf", "8/255"), 255).eps.value * 255 == 8
    assert float(within_steps(ThreatSpec.parse("linf", "0.3"), None).eps) == 0.3
    assert float(within_steps(ThreatSpec.parse("l2", "0.3"), 255).eps) == 0.3
