"""Validation of the network: clean, FGSM and robust accuracy on the held-out images."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks import FGSM, Model, Threat
from advbench.core import devices
from advbench.defenses.base import Defense, predict
from advbench.defenses.batches import Data, Hosted, gather


class Accuracy(NamedTuple):
    """Shares of the validation images, each in [0, 1].

    Parameters
    ----------
    clean : float
        Accuracy on clean images.
    fgsm : float
        Accuracy under FGSM.
    robust : float
        Accuracy under PGD-10, or the defense's `against`.
    """

    clean: float
    fgsm: float
    robust: float


def validate(
    model: Model, defense: Defense, threat: Threat, data: Data | Hosted, held: Array, size: int, key: Array
) -> Accuracy:
    """Measure accuracies on held-out images, in batches; the last one is filled up by repetition.

    Parameters
    ----------
    model : Model
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    defense : Defense
        Training objective with its settings.
    threat : Threat
        Norm ball and pixel box to stay in.
    data : Data or Hosted
        Training set.
    held : Array
        Indices, int32 `[n]`.
    size : int
        Images in a batch.
    key : Array
        PRNG key.

    Returns
    -------
    Accuracy
        Accuracies.
    """
    count = len(held)
    batches = np.resize(np.asarray(held), (-(-count // size), size))
    right: dict[str, list[Array]] = {name: [] for name in Accuracy._fields}
    for i, chosen in enumerate(batches):
        x, y, keys = devices.split((*gather(data, chosen), _keys(key, i, size)))
        moved = {
            "clean": x,
            "fgsm": FGSM()(model, threat, x, y, keys).x,
            "robust": defense.probe(model, threat, x, y, keys),
        }
        for name, images in moved.items():
            right[name].append(_right(model, images, y, min(size, count - i * size)))
    return Accuracy(**{name: sum(map(int, parts)) / count for name, parts in right.items()})


@jax.jit
def _right(model: Model, x: Array, y: Array, count: int) -> Array:
    """Count the first `count` images that are classified rightly."""
    return jnp.sum((predict(model, x).argmax(-1) == y) & (jnp.arange(len(y)) < count))


@partial(jax.jit, static_argnums=2)
def _keys(key: Array, number: int, size: int) -> Array:
    return jax.random.split(jax.random.fold_in(key, number), size)
