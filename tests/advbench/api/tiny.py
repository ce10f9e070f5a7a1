"""Linear models and noise, small enough that nothing takes long to compile."""

import jax.numpy as jnp
import numpy as np


def weights(shape, classes, seed=0):
    return np.random.default_rng(seed).normal(size=(int(np.prod(shape)), classes)).astype(np.float32)


def linear(shape, classes, seed=0):
    """A plain function, which is no pytree."""
    w = weights(shape, classes, seed)

    def model(x):
        return x.reshape(len(x), -1) @ w

    return model


def noise(shape, classes, n=12):
    """Images, and labels as `linear` predicts them."""
    images = np.random.default_rng(1).integers(0, 256, (n, *shape), dtype=np.uint8)
    labels = np.asarray(linear(shape, classes)(jnp.asarray(images / np.float32(255)))).argmax(1)
    return images, labels
