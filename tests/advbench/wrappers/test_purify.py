"""The generator and the projection onto what it can make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.errors import UsageError
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


def test_more_steps_come_nearer_and_the_gradient_is_the_identitys():
    generator = blank(SHAPE, 0)
    x = generator.decode(jax.random.normal(jax.random.key(1), (4, 24)))

    def distance(steps):
        return float(jnp.square(Purifier(generator, steps, 0.1).apply(x) - x).sum())

    assert distance(40) < distance(0) / 2
    purifier = Purifier(generator, 1, 0.1)
    np.testing.assert_array_equal(jax.grad(lambda x: purifier.stand_in(x).sum())(x), jnp.ones_like(x))


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
