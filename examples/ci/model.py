"""A classifier to try the examples with: which mean image of MNIST is nearest? It takes no training."""

import jax.numpy as jnp
from jax.tree_util import Partial

from advbench import load_data


def logits(weights, images):
    """Images [B, 28, 28, 1] in [0, 1] -> logits [B, 10]."""
    means, offsets = weights
    return images.reshape(len(images), -1) @ means + offsets


def make():
    """The model, as `advbench gate model.py:make` asks for it."""
    data = load_data("mnist")
    x = data.images[:1000].reshape(1000, -1) / 255
    means = jnp.stack([jnp.asarray(x[data.labels[:1000] == k].mean(0), jnp.float32) for k in range(10)], 1)
    return Partial(logits, (means, -0.5 * (means**2).sum(0)))
