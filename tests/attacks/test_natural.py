"""Noise, rotations and translations: what they draw, and that they find what was planted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import ATTACKS, NORMS, Threat
from advbench.attacks.spatial import Spatial, _grid, transformed

ANY = Threat(NORMS["any"], 1.0)
KEYS = jax.random.split(jax.random.key(0), 2)


def picture():
    """Two images without any symmetry."""
    return jax.random.uniform(jax.random.key(1), (2, 9, 9, 1))


def wary(target):
    """Class 1 only very near to one of the images `target`."""

    def logits(target, x):
        far = jnp.abs(x[:, None] - target[None]).max((2, 3, 4)).min(1)
        return jnp.stack([far, jnp.full_like(far, 1e-4)], -1)

    return jax.tree_util.Partial(logits, target)


def test_moves_are_what_they_are_called():
    x = picture()[0]
    np.testing.assert_allclose(transformed(x, jnp.zeros(3)), x, atol=1e-6)
    np.testing.assert_allclose(transformed(x, jnp.array([np.pi / 2, 0, 0])), jnp.rot90(x), atol=1e-4)
    down = np.asarray(transformed(x, jnp.array([0.0, 2.0, -1.0])))
    np.testing.assert_allclose(down[2:, :-1], x[:-2, 1:], atol=1e-6)
    assert not down[:2].any() and not down[:, -1].any()


def test_a_planted_rotation_is_found():
    x, zero = picture(), jnp.zeros(2, jnp.int32)
    attack = Spatial(angles=5, shifts=3, degrees=20.0, pixels=1.0)
    planted = jax.vmap(transformed)(x, jnp.array([[np.deg2rad(10), 1, 0], [np.deg2rad(-20), 0, -1]]))
    got = attack(wary(planted), ANY, x, zero, KEYS)
    np.testing.assert_allclose(got.x, planted, atol=1e-5)
    order = _grid(5, 3).tolist()
    places = [order.index([0.5, 1, 0]) + 1, order.index([-1, 0, -1]) + 1]
    np.testing.assert_array_equal(got.forwards, places)
    np.testing.assert_array_equal(got.gradients, 0)


def test_small_moves_come_first_and_the_authors_grid_is_whole():
    grid = _grid(31, 5)
    sizes = np.linalg.norm(grid, axis=1)
    assert len(np.unique(grid, axis=0)) == 775
    assert sizes[0] == 0 and (np.diff(sizes) >= -1e-12).all()


def test_a_grid_of_one_is_the_clean_image():
    x, zero = picture(), jnp.zeros(2, jnp.int32)
    got = Spatial(angles=1, shifts=1)(wary(x + 0.5), ANY, x, zero, KEYS)
    np.testing.assert_allclose(got.x, x, atol=1e-6)
    np.testing.assert_array_equal(got.forwards, 1)


@pytest.mark.parametrize("name", ["uniform-noise", "gaussian-noise"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_noise_reaches_the_border_of_the_ball_and_no_further(name, norm):
    grey, zero = jnp.full((2, 9, 9, 1), 0.5), jnp.zeros(2, jnp.int32)
    threat = Threat(NORMS[norm], 0.1)
    got = ATTACKS[name](samples=3)(wary(jnp.ones((1, 9, 9, 1))), threat, grey, zero, KEYS)
    np.testing.assert_allclose(jax.vmap(threat.length)(grey, got.x), 0.1, rtol=1e-4)
    np.testing.assert_array_equal(got.forwards, 3)


def test_the_first_draw_that_fools_is_kept():
    """A model fooled by bright images: noise on a grey one is brighter every other time."""
    bright = jax.tree_util.Partial(lambda x: jnp.stack([0 * x[:, 0, 0, 0], x.mean((1, 2, 3)) - 0.5], -1))
    x, keys = jnp.full((64, 9, 9, 1), 0.5), jax.random.split(jax.random.key(3), 64)
    got = ATTACKS["uniform-noise"](samples=20)(bright, Threat(NORMS["linf"], 0.1), x, jnp.zeros(64, jnp.int32), keys)
    assert bool((got.x.mean((1, 2, 3)) > 0.5).all())
    assert 1.4 < float(got.forwards.mean()) < 2.8  # geometric, of mean 2


def test_salt_and_pepper_are_black_and_white_and_counted():
    grey, zero = jnp.full((2, 9, 9, 1), 0.5), jnp.zeros(2, jnp.int32)
    stubborn = wary(jnp.full((1, 9, 9, 1), 0.5) + 0.1)
    for count in (0, 7, 81, 200):
        x = ATTACKS["salt-pepper"](samples=2)(stubborn, Threat(NORMS["l0"], float(count)), grey, zero, KEYS).x
        assert set(np.unique(x)) <= {0.0, 0.5, 1.0}
        np.testing.assert_array_equal((np.asarray(x) != 0.5).sum((1, 2, 3)), min(count, 81))
    everything = ATTACKS["salt-pepper"](samples=2)(stubborn, ANY, grey, zero, KEYS).x
    assert set(np.unique(everything)) == {0.0, 1.0}
