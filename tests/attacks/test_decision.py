"""Attacks that see only decisions: on linear models they must come near the boundary that mathematics gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    NORMS,
    Boundary,
    HopSkipJump,
    RayS,
    Threat,
)
from advbench.attacks.base import Starts
from advbench.attacks.decisions import (
    BLENDS,
    DRAWS,
    HALVINGS,
    start,
)
from tests.attacks.conftest import make

pytestmark = pytest.mark.optimised
FAR = {"linf": 1.0, "l2": 99.0}
DUAL = {"linf": 1, "l2": 2}
ATTACKS = {  # and how far beyond the nearest boundary the result may lie
    "boundary": (Boundary(steps=6000), "l2", 1.15),
    "hopskipjump-l2": (HopSkipJump(steps=15), "l2", 1.1),
    "hopskipjump-linf": (HopSkipJump(steps=15), "linf", 1.1),
    "rays": (RayS(queries=1500, early_stop=False), "linf", 1.02),
}
EVERY = pytest.mark.parametrize("name", ATTACKS)


@pytest.fixture(scope="module")
def two():
    """Two classes: a single boundary, so that no walk can settle at a farther one."""
    return make(0.4, 0.6, classes=2)


def seen(weights, hard, x):
    """The linear model; or, in the same program, the class alone, as one-hot logits."""
    z = x.reshape(len(x), -1) @ weights
    return jnp.where(hard, jax.nn.one_hot(z.argmax(-1), z.shape[-1]), z)


def attacked(attack, norm, linear, eps=None, *, hard=False, blind=False):
    model = jax.tree_util.Partial(seen, linear.weights * (not blind), jnp.array(hard))
    return attack(model, Threat(NORMS[norm], eps or FAR[norm]), linear.x, linear.y * (not blind), linear.keys)


def nearest(linear, norm):
    other = 1 - np.asarray(linear.y)
    lead, slopes = (a[np.arange(len(other)), other] for a in (linear.margins(), linear.slopes()))
    return -lead / np.linalg.norm(slopes, DUAL[norm], axis=-1)


def sizes(linear, x, norm):
    d = np.asarray(x - linear.x, np.float64).reshape(len(linear.x), -1)
    return np.linalg.norm(d, np.inf if norm == "linf" else 2, axis=-1)


@EVERY
def test_the_nearest_boundary_is_found(name, two):
    attack, norm, factor = ATTACKS[name]
    found = attacked(attack, norm, two)
    ratio = sizes(two, found.x, norm) / nearest(two, norm)
    assert (two.model(found.x).argmax(-1) != two.y).all()
    assert (ratio >= 1 - 1e-4).all() and (ratio <= factor).all(), ratio
    np.testing.assert_array_equal(found.gradients, 0)


@EVERY
def test_decisions_are_all_it_takes(name, two):
    attack, norm, _ = ATTACKS[name]
    found, told = attacked(attack, norm, two), attacked(attack, norm, two, hard=True)
    np.testing.assert_array_equal(told.x, found.x)
    np.testing.assert_array_equal(told.forwards, found.forwards)


@EVERY
def test_where_nothing_fools_the_image_stays_as_it_was(name, two):
    """A model that knows one class only: every start fails, and all that is spent is the search for one."""
    attack, norm, _ = ATTACKS[name]
    found = attacked(attack, norm, two, blind=True)
    np.testing.assert_array_equal(found.x, two.x)
    np.testing.assert_array_equal(found.forwards, attack.queries if name == "rays" else DRAWS + BLENDS)
    assert not np.asarray(found.tried).any()


CHECKS = jnp.asarray(np.indices((6, 6)).sum(0)[..., None] % 2, jnp.float32)


def only_checks(x):
    """Class 1 near a pattern that no noise and no mixture comes near."""
    far = jnp.abs(x - CHECKS).mean((1, 2, 3))
    return jnp.stack([far - 0.05, 0 * far], -1)


@pytest.mark.parametrize(
    ("attack", "norm", "most"),
    [
        (Boundary(steps=40), "l2", DRAWS + BLENDS + 2 + HALVINGS + 44),
        (HopSkipJump(steps=1, initial_num_evals=10), "linf", DRAWS + BLENDS + 2 + HALVINGS + 100),
        (RayS(queries=200, early_stop=False), "linf", 200),
    ],
)
def test_images_of_other_classes_are_the_last_resort(attack, norm, most):
    """The second image given fools; the last of the images attacked has none, the first has too few."""
    images = jnp.stack([jnp.full_like(CHECKS, 0.5), CHECKS])
    x = jnp.full((3, *CHECKS.shape), 0.4)
    y = Starts(jnp.zeros(3, jnp.int32), jnp.stack([images] * 3), jnp.array([1, 2, 0], jnp.int32))
    model = jax.tree_util.Partial(only_checks)
    keys = jax.random.split(jax.random.key(0), 3)
    found = attack(model, Threat(NORMS[norm], FAR[norm]), x, y, keys)
    np.testing.assert_array_equal(found.tried, [False, True, False])
    np.testing.assert_array_equal(model(found.x).argmax(-1), [0, 1, 0])
    assert int(found.forwards.max()) <= most


def test_mixtures_find_classes_that_noise_does_not():
    """Bright or dark images are another class, and noise is neither; mixtures with a constant are."""

    def grey(x):
        return jnp.stack([0.2 - jnp.abs(x.mean((1, 2, 3)) - 0.5), jnp.zeros(len(x))], -1)

    x, y = jnp.full((4, 6, 6, 1), 0.5), jnp.zeros(4, jnp.int32)
    keys = jax.random.split(jax.random.key(0), 4)
    begun = start(jax.tree_util.Partial(grey), Threat(NORMS["l2"], 1.0), x, y, keys)
    assert bool(begun.found.all())
    assert (begun.forwards > DRAWS).all() and (begun.forwards <= DRAWS + BLENDS + HALVINGS).all()


def test_the_start_fools_and_lies_next_to_a_boundary(two):
    model = jax.tree_util.Partial(seen, two.weights, jnp.array(False))
    begun = start(model, Threat(NORMS["l2"], 1.0), two.x, two.y, two.keys)
    assert bool(begun.found.all()) and (two.model(begun.x).argmax(-1) != two.y).all()
    share = 1 - 2.0**-HALVINGS / np.asarray(begun.high)  # a last halving nearer to the clean image
    nearer = two.x + share[:, None, None, None] * (begun.x - two.x)
    assert (two.model(nearer).argmax(-1) == two.y).all()
    assert (begun.forwards > HALVINGS).all()


def test_queries_are_counted(two):
    """Boundary looks at the sphere every tenth step; HopSkipJump's only varying part is the halving of strides."""
    begun = start(jax.tree_util.Partial(seen, two.weights, jnp.array(False)), Threat(NORMS["l2"], 1.0), *_rest(two))
    np.testing.assert_array_equal(attacked(Boundary(steps=1000), "l2", two).forwards, begun.forwards + 1000 + 100)
    hops, norm, _ = ATTACKS["hopskipjump-l2"]
    probes = sum(int(np.float32(100) * np.sqrt(np.float32(t))) for t in range(1, 16))
    bisections = 16 * int(np.ceil(np.log2(50**1.5)))
    strides = attacked(hops, norm, two).forwards - begun.forwards - probes - bisections
    assert (strides >= 15).all() and (strides <= 15 * 6).all()


def test_rays_stops_as_soon_as_it_fools_within_eps(two):
    best = nearest(two, "linf")
    eps = float(np.median(best)) * 1.3
    attack = RayS(queries=1500)
    found = attacked(attack, "linf", two, eps)
    broken = np.asarray(two.model(found.x).argmax(-1) != two.y)
    np.testing.assert_array_equal(broken, best < eps)
    assert (np.asarray(found.forwards)[broken] < 1500).all() and (np.asarray(found.forwards)[~broken] == 1500).all()
    assert sizes(two, found.x, "linf").max() <= eps + 1e-6


@pytest.mark.parametrize(
    ("attack", "norm", "says"),
    [
        (Boundary(), "linf", "can't attack in linf"),
        (Boundary(step_adaptation=1.0), "l2", "step_adaptation > 1"),
        (HopSkipJump(gamma=0.0), "l2", "gamma > 0"),
        (RayS(queries=0), "linf", "queries >= 1"),
        (RayS(restarts=2), "linf", "would all be the same"),
    ],
)
def test_what_cannot_work_is_refused(attack, norm, says):
    with pytest.raises(ValueError, match=says):
        attack.check(Threat(NORMS[norm], 0.1))


def _rest(linear):
    return linear.x, linear.y, linear.keys
