"""Passes through a model over many images, in batches of one shape."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from advbench.core.external import raised
from advbench.core.model import Model

Array = NDArray[Any]


@jax.jit
def predict(model: Model, x: Array) -> jax.Array:
    """Logits `[B, K]` of images `[B, H, W, C]`."""
    return model(jnp.asarray(x))


def in_batches(compute: Any, model: Model, size: int, *arrays: Array) -> Any:
    """`compute(model, *batch)` over all rows, in batches of one size, as a pytree of NumPy arrays."""
    n = len(arrays[0])
    rows = np.arange(-(-n // size) * size) % n
    with raised():
        parts = [compute(model, *(a[take] for a in arrays)) for take in rows.reshape(-1, size)]
        return jax.tree.map(lambda *part: np.concatenate(part)[:n], *parts)
