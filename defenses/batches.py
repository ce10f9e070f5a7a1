"""Batches made on the device: the whole set lies there as bytes, and is permuted, gathered and augmented under jit."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks import devices

PAD = 4  # pixels around an image before it is cropped


class Data(NamedTuple):
    """A training set on the device, and which of its images are held out for validation."""

    images: Array  # uint8 [N, H, W, C]
    labels: Array  # int32 [N]
    train: Array  # int32: indices to train on
    held: Array  # int32: indices to validate on
    extra: Array  # int32: indices of extra images, for training only


class Streams(NamedTuple):
    """Independent sources of randomness; each is folded with the epoch or the step, so a resumed run draws the same."""

    split: Array
    order: Array
    augment: Array
    attack: Array
    judge: Array
    extra: Array
    mix: Array

    @classmethod
    def of(cls, seed: int) -> Streams:
        """All streams of a seed."""
        return cls(*jax.random.split(jax.random.key(seed), len(cls._fields)))


def place(images: Any, labels: Any, held: int, streams: Streams, extra: tuple[Any, Any] | None = None) -> Data:
    """Put uint8 images `[N, H, W, C]` and their labels on the device; hold out `held` of them, chosen by the seed.

    `extra` are more images and labels, of which none is held out.
    """
    count = len(images)
    chosen = jax.random.permutation(streams.split, count).astype(jnp.int32)
    if extra:
        images, labels = (np.concatenate(pair) for pair in zip((images, labels), extra, strict=True))
    more = jnp.arange(count, len(images), dtype=jnp.int32)
    data = Data(jnp.asarray(images), jnp.asarray(labels, jnp.int32), chosen[held:], chosen[:held], more)
    return devices.replicated(data)


@jax.jit
def shuffled(data: Data, streams: Streams, epoch: int) -> Array:
    """Order in which an epoch visits the training images: their indices, int32."""
    return jax.random.permutation(jax.random.fold_in(streams.order, epoch), data.train)


@partial(jax.jit, static_argnames=("size", "augment", "extra"))
def draw(
    data: Data, order: Array, streams: Streams, step: int, at: int, *, size: int, augment: str, extra: int = 0
) -> tuple[Array, Array, Array]:
    """Take the `at`-th batch of an epoch: images float32 in [0, 1], labels int32, one PRNG key per image.

    `extra` of its `size` images are extra ones, drawn anew and with replacement in every step.
    """
    own = size - extra
    chosen = jax.lax.dynamic_slice_in_dim(order, at * own, own)
    if extra:
        more = jax.random.choice(jax.random.fold_in(streams.extra, step), data.extra, (extra,))
        chosen = jnp.concatenate([chosen, more])
    images = data.images[chosen]
    if augment == "crop-flip":
        images = jax.vmap(_crop_flip)(jax.random.split(jax.random.fold_in(streams.augment, step), size), images)
    keys = jax.random.split(jax.random.fold_in(streams.attack, step), size)
    return _to_float(images), data.labels[chosen], keys


@jax.jit
def gather(data: Data, chosen: Array) -> tuple[Array, Array]:
    """Images float32 in [0, 1] and labels of the indices `chosen`, as they are."""
    return _to_float(data.images[chosen]), data.labels[chosen]


def _to_float(images: Array) -> Array:
    return images.astype(jnp.float32) / 255


def _crop_flip(key: Array, image: Array) -> Array:
    where, side = jax.random.split(key)
    top, left = jax.random.randint(where, (2,), 0, 2 * PAD + 1)
    padded = jnp.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
    crop = jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)
    return jnp.where(jax.random.bernoulli(side), crop[:, ::-1], crop)
