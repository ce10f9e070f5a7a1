"""Batched computation over many images, in batches of one shape."""

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
    """Compute logits `[B, K]` of images `[B, H, W, C]`."""
    return model(jnp.asarray(x))


def in_batches(compute: Any, model: Model, size: int, *arrays: Array) -> Any:
    """Apply `compute(model, *batch)` to all rows in batches of one size.

    Parameters
    ----------
    compute : callable
        Maps the model and a batch of each array to a pytree of arrays with leading axis `size`.
    model : Model
        The model.
    size : int
        Rows per batch; the last batch is filled up with rows from the front.
    *arrays : np.ndarray
        Arrays `[n, ...]`.

    Returns
    -------
    pytree of np.ndarray
        The outputs, with leading axis n.
    """
    n = len(arrays[0])
    rows = np.arange(-(-n // size) * size) % n
    with raised():
        parts = [compute(model, *(a[take] for a in arrays)) for take in rows.reshape(-1, size)]
        return jax.tree.map(lambda *part: np.concatenate(part)[:n], *parts)
