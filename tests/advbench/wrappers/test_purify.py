"""The generator and the projection onto what it can make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from advbench.core.errors import UsageError
from advbench.wrappers.facing import attack_view
from advbench.wrappers.generator import Generator
from advbench.wrappers.purify import Purifier, Purify
from advbench.wrappers.train import blank, train

SHAPE = (6, 6, 1)


def test_training_brings_images_back():
    rng = np.random.default_rng(0)
    bars = np.zeros((256, *SHAPE), np.uint8)
    bars[np.arange(256), rng.integers(0, 6, 256)] = 255
    generator = train(bars, epochs=60)
    x = jnp.asarray(bars[:32], jnp.float32) / 255
    error = float(jnp.square(generator.decode(generator.encode(x)) - x).mean())
    assert error < float(jnp.square(x - x.mean(0)).mean()) / 3


def test_more_steps_come_nearer():
    generator = blank(SHAPE, 0)
    x = generator.decode(jax.random.normal(jax.random.key(1), (4, 24)))

    def distance(steps):
        return float(jnp.square(Purifier(generator, steps, 0.1).apply(x) - x).sum())

    assert distance(40) < distance(0) / 2


def test_who_knows_climbs_through_the_search_and_who_does_not_climbs_the_network(tmp_path):
    generator = blank(SHAPE, 0)
    generator.save(tmp_path / "g")
    purify = Purify(str(tmp_path / "g"), steps=3)
    weights = jax.random.normal(jax.random.key(2), (36, 3))
    x = jax.random.uniform(jax.random.key(3), (2, *SHAPE))
    y = jnp.zeros(2, jnp.int32)

    def model(x):
        return x.reshape(len(x), -1) @ weights

    def loss(x):
        return model(Purifier(generator, 3, 0.1).apply(x))[:, 0].sum()

    aware, unaware = (purify.wrap(Partial(model), SHAPE, adaptive=adaptive) for adaptive in (True, False))
    np.testing.assert_allclose(aware(x), unaware(x))
    np.testing.assert_allclose(
        jax.grad(lambda x: attack_view(aware, x, y)(x)[:, 0].sum())(x), jax.grad(loss)(x), rtol=1e-5
    )
    np.testing.assert_allclose(attack_view(unaware, x, y)(x), model(x))
    both = purify.wrap(unaware, SHAPE, adaptive=False)  # twice: still the bare network
    np.testing.assert_allclose(attack_view(both, x, y)(x), model(x))
    step = 1e-2  # and it is the slope of what the judge sees
    e = jnp.zeros_like(x).at[0, 2, 3, 0].set(step)
    np.testing.assert_allclose((loss(x + e) - loss(x - e)) / (2 * step), jax.grad(loss)(x)[0, 2, 3, 0], rtol=0.05)


def test_a_generator_comes_back_from_its_file(tmp_path):
    generator = blank(SHAPE, 0)
    generator.save(tmp_path / "g")
    again = Generator.load(tmp_path / "g")
    z = jnp.ones((1, 24))
    assert again.shape == SHAPE
    np.testing.assert_array_equal(again.decode(z), generator.decode(z))
    with pytest.raises(UsageError, match="makes images of"):
        Purify(str(tmp_path / "g")).loaded((28, 28, 1))
    (tmp_path / "h").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="not a generator"):
        Generator.load(tmp_path / "h")
