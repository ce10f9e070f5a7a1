"""The protocol that every model has to attacks and judge."""

from __future__ import annotations

from typing import Protocol

from jax import Array


class Model(Protocol):
    """Anything that maps images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`; must be a pytree."""

    def __call__(self, x: Array, /) -> Array:
        """Logits of each image; no row may depend on the others."""
