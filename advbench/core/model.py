"""Protocol of models, as attacks and the judge see them."""

from __future__ import annotations

from typing import Protocol

import jax
from jax import Array


class Model(Protocol):
    """Any pytree that maps images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`.

    Examples
    --------
    A function becomes one by `jax.tree_util.Partial`; arrays that it needs are passed along:

    >>> import jax
    >>> import jax.numpy as jnp
    >>> weights = jnp.ones((4, 2))
    >>> model = jax.tree_util.Partial(lambda w, x: x.reshape(len(x), -1) @ w, weights)
    >>> model(jnp.ones((3, 2, 2, 1))).shape
    (3, 2)
    """

    def __call__(self, x: Array, /) -> Array:
        """Return the logits of each image; no row may depend on the others.

        Parameters
        ----------
        x : Array
            Images, float32 `[B, H, W, C]` in [0, 1].

        Returns
        -------
        Array
            float32 `[B, K]`.
        """


@jax.jit
def predict(model: Model, x: Array) -> Array:
    """Compute the logits of a batch in a program that all callers share.

    Parameters
    ----------
    model : Model
        A pytree.
    x : Array
        Images, float32 `[B, H, W, C]` in [0, 1].

    Returns
    -------
    Array
        float32 `[B, K]`.
    """
    return model(x)
