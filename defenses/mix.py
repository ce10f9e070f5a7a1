"""Mixed images: MixUp blends two, CutMix pastes a box of one into the other; labels are mixed in the same shares.

Zhang, Cisse, Dauphin & Lopez-Paz 2018, arXiv 1710.09412; Yun et al. 2019, arXiv 1905.04899. With adversarial training
CutMix helps where weights are averaged (Rebuffi et al. 2021, arXiv 2103.01946).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

KINDS = ("none", "mixup", "cutmix")


@partial(jax.jit, static_argnames=("alpha", "kind", "classes"))
def mix(key: Array, x: Array, y: Array, alpha: float, *, kind: str, classes: int) -> tuple[Array, Array]:
    """Mix each image with another one of its batch.

    Parameters
    ----------
    key : Array
        PRNG key of the batch.
    x : Array
        Images, float32 `[B, H, W, C]`.
    y : Array
        Labels, int32 `[B]` in [0, K).
    alpha : float
        Each image keeps a share drawn from Beta(alpha, alpha), one draw an image; above 0.
    kind : str
        "mixup" or "cutmix".
    classes : int
        Number of classes K.

    Returns
    -------
    tuple[Array, Array]
        Images, and the share of every class in each, float32 `[B, K]`, rows summing to 1.
    """
    pairing, shares, places = jax.random.split(key, 3)
    other = jax.random.permutation(pairing, len(x))
    shape = (len(x),)  # drawing from Beta(1, 1), which is uniform, as from any other would compile for a second
    keep = jax.random.uniform(shares, shape) if alpha == 1 else jax.random.beta(shares, alpha, alpha, shape)
    if kind == "mixup":
        images = _weighted(keep, x, x[other])
    else:
        inside = jax.vmap(partial(_box, size=(x.shape[1], x.shape[2])))(jax.random.split(places, len(x)), 1 - keep)
        images, keep = jnp.where(inside[..., None], x[other], x), 1 - inside.mean((1, 2))
    return images, _weighted(keep, jax.nn.one_hot(y, classes), jax.nn.one_hot(y[other], classes))


def leading(y: Array) -> Array:
    """Return the labels that attacks lead away from: those given, or the class with the largest share.

    Parameters
    ----------
    y : Array
        Labels int32 `[B]`, or shares float32 `[B, K]`.

    Returns
    -------
    Array
        int32 `[B]`.
    """
    return y if y.ndim == 1 else y.argmax(-1).astype(jnp.int32)


def shares(y: Array, classes: int) -> Array:
    """Return the share of every class.

    Parameters
    ----------
    y : Array
        Labels int32 `[B]`, or shares float32 `[B, K]`.
    classes : int
        Number of classes K.

    Returns
    -------
    Array
        float32 `[B, K]`.
    """
    return jax.nn.one_hot(y, classes) if y.ndim == 1 else y


def _weighted(keep: Array, a: Array, b: Array) -> Array:
    keep = keep.reshape(-1, *[1] * (a.ndim - 1))
    return keep * a + (1 - keep) * b


def _box(key: Array, area: Array, *, size: tuple[int, int]) -> Array:
    """Mask the pixels in a box of a given share of the area, around a uniform centre, cut off at the edges; bool."""
    centre = jax.random.uniform(key, (2,))
    rows, columns = (
        jnp.abs(jnp.arange(n) + 0.5 - at * n) < n * jnp.sqrt(area) / 2 for n, at in zip(size, centre, strict=True)
    )
    return rows[:, None] & columns[None, :]
