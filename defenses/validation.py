"""How good the network is now: clean, FGSM and PGD accuracy on the held-out images."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks import FGSM, PGD, Attack, Model, Threat, devices
from advbench.defenses.base import predict
from advbench.defenses.batches import Data, gather

PROBES: dict[str, Attack] = {"fgsm": FGSM(), "robust": PGD(steps=10, rel_step_size=0.25)}


class Accuracy(NamedTuple):
    """Shares of the validation images, each in [0, 1]."""

    clean: float
    fgsm: float
    robust: float  # PGD-10


def validate(model: Model, threat: Threat, data: Data, held: Array, size: int, key: Array) -> Accuracy:
    """Measure the images of the indices `held`, in batches of `size`, the last one filled up by repetition."""
    count = len(held)
    batches = jnp.resize(held, (-(-count // size), size))
    right: dict[str, list[Array]] = {"clean": [], **{name: [] for name in PROBES}}
    for i, chosen in enumerate(batches):
        keys = jax.random.split(jax.random.fold_in(key, i), size)
        x, y, keys = devices.split((*gather(data, chosen), keys))
        right["clean"].append(predict(model, x).argmax(-1) == y)
        for name, attack in PROBES.items():
            right[name].append(predict(model, attack(model, threat, x, y, keys).x).argmax(-1) == y)
    return Accuracy(**{name: int(jnp.concatenate(parts)[:count].sum()) / count for name, parts in right.items()})
