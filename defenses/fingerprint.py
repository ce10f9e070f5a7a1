"""Fingerprint of a training run: all facts that a resumed run must share."""

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

ROWS = 256  # images in memory at once, where they are decoded on demand


def fingerprint(
    module: nnx.Module,
    defense: Defense,
    threat: Threat,
    data: str,
    recipe: Recipe,
    extra: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, str]:
    """Collect all facts on which the outcome of a run depends.

    Parameters
    ----------
    module : nnx.Module
        Network.
    defense : Defense
        Training objective with its settings.
    threat : Threat
        Norm and eps.
    data : str
        Digest of images and labels.
    recipe : Recipe
        Settings of the training loop.
    extra : tuple[np.ndarray, np.ndarray], optional
        Extra images and labels.

    Returns
    -------
    dict[str, str]
        Facts by name.
    """
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
    """Return the sha256 of images, followed by labels.

    Parameters
    ----------
    images : Any
        uint8 `[N, H, W, C]`.
    labels : np.ndarray
        Integers `[N]`, hashed as int32.

    Returns
    -------
    str
        Hexadecimal digest.
    """
    digest = hashlib.sha256()
    for at in range(0, len(images), ROWS):
        digest.update(np.ascontiguousarray(images[at : at + ROWS]).data)
    digest.update(labels.astype(np.int32).tobytes())
    return digest.hexdigest()
