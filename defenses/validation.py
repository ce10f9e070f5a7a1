"""How good the network is now: clean, FGSM and robust accuracy on the held-out images."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks import FGSM, Model, Threat
from advbench.core import devices
from advbench.defenses.base import Defense, predict
from advbench.defenses.batches import Data, Hosted, gather


class Accuracy(NamedTuple):
    """Shares of the validation images, each in [0, 1]."""

    clean: float
    fgsm: float
    robust: float  # against PGD-10, or what else the defense's `against` says


def validate(
    model: Model, defense: Defense, threat: Threat, data: Data | Hosted, held: Array, size: int, key: Array
) -> Accuracy:
    """Measure the images of the indices `held`, in batches of `size`, the last one filled up by repetition."""
    count = len(held)
    batches = jnp.resize(held, (-(-count // size), size))
    right: dict[str, list[Array]] = {name: [] for name in Accuracy._fields}
    for i, chosen in enumerate(batches):
        keys = jax.random.split(jax.random.fold_in(key, i), size)
        x, y, keys = devices.split((*gather(data, chosen), keys))
        moved = {
            "clean": x,
            "fgsm": FGSM()(model, threat, x, y, keys).x,
            "robust": defense.probe(model, threat, x, y, keys),
        }
        for name, images in moved.items():
            right[name].append(predict(model, images).argmax(-1) == y)
    return Accuracy(**{name: int(jnp.concatenate(parts)[:count].sum()) / count for name, parts in right.items()})
