"""Training of the generator for `purify`: `python -m advbench.wrappers.train mnist generator.safetensors`."""

from __future__ import annotations

import argparse
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from advbench.core.errors import AdvbenchError
from advbench.wrappers.base import Shape
from advbench.wrappers.generator import LAYERS, Generator, Weights

LATENT, HIDDEN = 24, 256
BATCH = 128


def blank(shape: Shape, seed: int) -> Generator:
    """Initialise a generator: He-normal kernels (He et al. 2015, arXiv 1502.01852), zero biases.

    Parameters
    ----------
    shape : tuple of int
        Image shape (H, W, C).
    seed : int
        Seed of the kernels.

    Returns
    -------
    Generator
        Untrained.
    """
    pixels = prod(shape)
    sides = [(pixels, HIDDEN), (HIDDEN, LATENT), (HIDDEN, LATENT), (LATENT, HIDDEN), (HIDDEN, pixels)]
    keys = jax.random.split(jax.random.key(seed), len(LAYERS))
    weights: Weights = {}
    for key, name, (i, o) in zip(keys, LAYERS, sides, strict=True):
        weights[f"{name}.kernel"] = jax.nn.initializers.he_normal()(key, (i, o), jnp.float32)
        weights[f"{name}.bias"] = jnp.zeros(o)
    return Generator(weights, shape)


def bound(generator: Generator, x: Array, key: Array) -> Array:
    """Compute the mean negative evidence lower bound of images, with Bernoulli pixels.

    Parameters
    ----------
    generator : Generator
        A variational autoencoder.
    x : Array
        Images `[B, H, W, C]` in [0, 1].
    key : Array
        Random key of the latent noise.

    Returns
    -------
    Array
        Scalar, in nats per image.
    """
    mean, log_variance = generator.posterior(x)
    z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
    pixels = optax.sigmoid_binary_cross_entropy(generator.logits(z), x.reshape(len(x), -1)).sum(1)
    divergence = (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(1) / 2
    mean_bound: Array = (pixels + divergence).mean()
    return mean_bound


def train(images: np.ndarray, *, epochs: int = 10, seed: int = 0) -> Generator:
    """Train a generator.

    Parameters
    ----------
    images : np.ndarray
        uint8 `[n, H, W, C]`, n at least 128.
    epochs : int
        Passes over the images.
    seed : int
        Seed of weights, order and latent noise.

    Returns
    -------
    Generator
        The trained generator.
    """
    adam = optax.adam(1e-3)
    height, width, channels = images.shape[1:]
    generator = blank((height, width, channels), seed)
    state, rng = adam.init(generator), np.random.default_rng(seed)
    key = jax.random.key(seed)
    for epoch in range(epochs):
        order = rng.permutation(len(images))[: len(images) // BATCH * BATCH].reshape(-1, BATCH)
        for number, at in enumerate(order):
            draw = jax.random.fold_in(key, epoch * len(order) + number)
            generator, state = _step(adam, generator, state, images[at], draw)
    return generator


@partial(jax.jit, static_argnums=0)
def _step(adam: Any, generator: Generator, state: Any, images: Array, key: Array) -> tuple[Generator, Any]:
    update, state = adam.update(jax.grad(bound)(generator, images.astype(jnp.float32) / 255, key), state)
    return optax.apply_updates(generator, update), state


def main() -> None:
    """Train a generator on the training images of a data set, and write it to a file."""
    from advbench.data import load as load_data

    parser = argparse.ArgumentParser(prog="python -m advbench.wrappers.train", description=main.__doc__)
    parser.add_argument("dataset")
    parser.add_argument("file", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        images = load_data(arguments.dataset, "train").images
        train(images, epochs=arguments.epochs, seed=arguments.seed).save(arguments.file)
    except AdvbenchError as error:
        parser.exit(error.exit_code, f"advbench: {error}\n")


if __name__ == "__main__":
    main()
