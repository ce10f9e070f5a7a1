"""What decides how a run ends: a resumed run must share all of it."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from flax import nnx

from advbench.attacks import Threat
from advbench.defenses.base import Defense
from advbench.defenses.recipe import Recipe

ROWS = 256  # images in memory at once, where they are decoded as they are asked for


def fingerprint(
    module: nnx.Module,
    defense: Defense,
    threat: Threat,
    data: str,
    recipe: Recipe,
    extra: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, str]:
    """Everything that decides how a run ends, by name; `data` is the digest of images and labels."""
    shapes = [
        f"{jax.tree_util.keystr(path)} {leaf.shape}" for path, leaf in jax.tree.leaves_with_path(nnx.state(module))
    ]
    return {
        "network": f"{type(module).__name__} {hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]}",
        "defense": repr(defense),
        "threat": f"{threat.norm.name} {float(threat.eps)!r}",
        "data": data,
        "extra data": content(*extra) if extra else "none",
        "backend": jax.default_backend(),
        **{f"recipe.{name}": repr(value) for name, value in recipe.stored.items()},
        **{package: version(package) for package in ("advbench", "jax", "flax", "optax")},
    }


def content(images: Any, labels: np.ndarray) -> str:
    """The sha256 of uint8 images and, after them, labels as int32."""
    digest = hashlib.sha256()
    for at in range(0, len(images), ROWS):
        digest.update(np.ascontiguousarray(images[at : at + ROWS]).data)
    digest.update(labels.astype(np.int32).tobytes())
    return digest.hexdigest()
