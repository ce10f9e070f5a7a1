"""Batches made on the device: the data set stays there as bytes, and is permuted, gathered and augmented under jit.

Images that need too much memory for that, or are decoded on demand, stay on the host, which sends those of a batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core import devices
from advbench.defenses.balance import BALANCED, chances

LARGEST = 1 << 31  # bytes of images that may lie on the device
PAD = 4  # pixels around an image before it is cropped


class Data(NamedTuple):
    """A training set on the device, with the images held out for validation."""

    images: Array | None  # uint8 [N, H, W, C]; None where they stay on the host
    labels: Array  # int32 [N]
    train: Array  # int32: indices to train on
    held: Array  # int32: indices to validate on
    extra: Array  # int32: indices of extra images, for training only
    chances: Array | None = None  # float32: probability of each of `train` to be drawn; None: each once an epoch


class Hosted(NamedTuple):
    """A training set whose images stay on the host."""

    rest: Data  # all but the images
    images: Any  # uint8 [N, H, W, C]: indexable by integers
    more: Any  # validation and extra images, numbered from N; None: there are none

    @property
    def train(self) -> Array:
        """Indices to train on, int32."""
        return self.rest.train

    @property
    def held(self) -> Array:
        """Indices to validate on, int32."""
        return self.rest.held

    def announce(self, indices: Any) -> None:
        """Announce the images needed next, where they can be prepared ahead.

        Parameters
        ----------
        indices : Any
            Integers `[n]`.
        """
        if hasattr(self.images, "expect"):
            self.images.expect(np.asarray(indices).tolist())

    def fetch(self, chosen: Array) -> Array:
        """Send images to the device.

        Parameters
        ----------
        chosen : Array
            Indices, int32 `[B]`.

        Returns
        -------
        Array
            uint8 `[B, H, W, C]`.
        """
        at = np.asarray(chosen)
        if self.more is None:
            images = self.images[at]
        else:
            own = at < len(self.images)
            images = np.empty((len(at), *self.images.shape[1:]), np.uint8)
            images[own], images[~own] = self.images[at[own]], self.more[at[~own] - len(self.images)]
        placed: Array = jax.device_put(images)
        return placed


class Streams(NamedTuple):
    """Independent random streams; each is folded with the epoch or the step, so that a resumed run draws the same."""

    split: Array
    order: Array
    augment: Array
    attack: Array
    judge: Array
    extra: Array
    mix: Array

    @classmethod
    def of(cls, seed: int) -> Streams:
        """Return all streams of a seed.

        Parameters
        ----------
        seed : int
            Seed of the run.

        Returns
        -------
        Streams
            One PRNG key for each purpose.
        """
        return cls(*_streams(np.uint32(seed % 2**32)))


@jax.jit
def _streams(seed: Any) -> tuple[Array, ...]:
    return tuple(jax.random.split(jax.random.key(seed), len(Streams._fields)))


def place(
    images: Any,
    labels: Any,
    held: int,
    streams: Streams,
    extra: tuple[Any, Any] | None = None,
    validating: tuple[Any, Any] | None = None,
    *,
    sampler: str = "none",
    largest: int = LARGEST,
) -> Data | Hosted:
    """Put a training set on the device, and hold out images for validation, chosen by the seed.

    Parameters
    ----------
    images : Any
        uint8 `[N, H, W, C]`; more than `largest` bytes, or anything but an array, stays on the host.
    labels : Any
        Integers `[N]`.
    held : int
        Number of images held out, unless there are `validating` ones.
    streams : Streams
        Random streams of the run.
    extra : tuple[Any, Any], optional
        More images and labels to train on.
    validating : tuple[Any, Any], optional
        Images and labels to validate on.
    sampler : str, default 'none'
        "none" or "balanced".
    largest : int, default LARGEST
        Bytes of images allowed on the device.

    Returns
    -------
    Data or Hosted
        The training set.
    """
    count, held = len(images), 0 if validating else held
    added = [each for each in (validating, extra) if each]
    chosen = np.asarray(_permuted(streams.split, count), np.int32)
    even = jnp.asarray(chances(np.asarray(labels)[chosen[held:]])) if sampler == BALANCED else None
    hosted = not isinstance(images, np.ndarray | Array) or images.nbytes > largest
    labels = np.concatenate([labels, *(each[1] for each in added)])
    more = np.concatenate([each[0] for each in added]) if added else None
    if more is not None and not hosted:
        images = np.concatenate([images, more])
    first = count + (len(validating[1]) if validating else 0)  # of the extra ones
    held_out = np.arange(count, first, dtype=np.int32) if validating else chosen[:held]
    rest = np.arange(first, len(labels), dtype=np.int32)
    there = None if hosted else jax.device_put(images)
    known, train, held_out, rest = jax.device_put((labels.astype(np.int32), chosen[held:], held_out, rest))
    data = devices.replicated(Data(there, known, train, held_out, rest, even))
    return Hosted(data, images, more) if hosted else data


@partial(jax.jit, static_argnums=1)
def _permuted(key: Array, count: int) -> Array:
    return jax.random.permutation(key, count)


def shuffled(data: Data | Hosted, streams: Streams, epoch: int) -> Array:
    """Return the order in which an epoch visits the training images.

    Each comes once; with a balanced sampler as many are drawn with replacement, so that a step sees all classes equally
    often, as in PyTorch's `WeightedRandomSampler`.

    Parameters
    ----------
    data : Data or Hosted
        Training set.
    streams : Streams
        Random streams of the run.
    epoch : int
        Number of the epoch, from 0.

    Returns
    -------
    Array
        Indices, int32.
    """
    order: Array = _shuffled(data.rest if isinstance(data, Hosted) else data, streams, epoch)
    if isinstance(data, Hosted):
        data.announce(order)
    return order


@jax.jit
def _shuffled(data: Data, streams: Streams, epoch: int) -> Array:
    key = jax.random.fold_in(streams.order, epoch)
    if data.chances is None:
        return jax.random.permutation(key, data.train)
    return jax.random.choice(key, data.train, data.train.shape, p=data.chances)


def draw(
    data: Data | Hosted, order: Array, streams: Streams, step: int, at: int, *, size: int, augment: str, extra: int = 0
) -> tuple[Array, Array, Array]:
    """Take one batch of an epoch.

    Parameters
    ----------
    data : Data or Hosted
        Training set.
    order : Array
        Indices, int32, from `shuffled`.
    streams : Streams
        Random streams of the run.
    step : int
        Number of the step, from 0, which fixes the augmentation.
    at : int
        Number of the batch within the epoch, from 0.
    size : int
        Images in the batch B.
    augment : str
        "none" or "crop-flip".
    extra : int, default 0
        Images of the batch that are extra ones, drawn with replacement in every step.

    Returns
    -------
    tuple[Array, Array, Array]
        Images float32 `[B, H, W, C]` in [0, 1], labels int32 `[B]`, one PRNG key per image.
    """
    if isinstance(data, Hosted):
        chosen = _choose(data.rest, order, streams, step, at, size=size, extra=extra)
        images, labels = data.fetch(chosen), data.rest.labels[chosen]
        batch: tuple[Array, Array, Array] = _prepared(images, labels, streams, step, size=size, augment=augment)
        return batch
    drawn: tuple[Array, Array, Array] = _draw(data, order, streams, step, at, size=size, augment=augment, extra=extra)
    return drawn


@partial(jax.jit, static_argnames=("size", "augment", "extra"))
def _draw(
    data: Data, order: Array, streams: Streams, step: int, at: int, *, size: int, augment: str, extra: int
) -> tuple[Array, Array, Array]:
    chosen = _choose(data, order, streams, step, at, size=size, extra=extra)
    assert data.images is not None  # noqa: S101 - or it is a Hosted
    images, labels = data.images[chosen], data.labels[chosen]
    batch: tuple[Array, Array, Array] = _prepared(images, labels, streams, step, size=size, augment=augment)
    return batch


@partial(jax.jit, static_argnames=("size", "extra"))
def _choose(data: Data, order: Array, streams: Streams, step: int, at: int, *, size: int, extra: int) -> Array:
    own = size - extra
    chosen = jax.lax.dynamic_slice_in_dim(order, at * own, own)
    if extra:
        more = jax.random.choice(jax.random.fold_in(streams.extra, step), data.extra, (extra,))
        chosen = jnp.concatenate([chosen, more])
    return chosen


@partial(jax.jit, static_argnames=("size", "augment"))
def _prepared(
    images: Array, labels: Array, streams: Streams, step: int, *, size: int, augment: str
) -> tuple[Array, Array, Array]:
    if augment == "crop-flip":
        images = jax.vmap(_crop_flip)(jax.random.split(jax.random.fold_in(streams.augment, step), size), images)
    keys = jax.random.split(jax.random.fold_in(streams.attack, step), size)
    return _to_float(images), labels, keys


def gather(data: Data | Hosted, chosen: Array) -> tuple[Array, Array]:
    """Return images and labels without augmentation.

    Parameters
    ----------
    data : Data or Hosted
        Training set.
    chosen : Array
        Indices, int32 `[B]`.

    Returns
    -------
    tuple[Array, Array]
        Images float32 `[B, H, W, C]` in [0, 1], and labels int32 `[B]`.
    """
    if isinstance(data, Hosted):
        return _to_float(data.fetch(chosen)), data.rest.labels[chosen]
    batch: tuple[Array, Array] = _gather(data, chosen)
    return batch


@jax.jit
def _gather(data: Data, chosen: Array) -> tuple[Array, Array]:
    assert data.images is not None  # noqa: S101 - or it is a Hosted
    return _to_float(data.images[chosen]), data.labels[chosen]


def _to_float(images: Array) -> Array:
    return images.astype(jnp.float32) / 255


def _crop_flip(key: Array, image: Array) -> Array:
    where, side = jax.random.split(key)
    top, left = jax.random.randint(where, (2,), 0, 2 * PAD + 1)
    padded = jnp.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
    crop = jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)
    return jnp.where(jax.random.bernoulli(side), crop[:, ::-1], crop)
