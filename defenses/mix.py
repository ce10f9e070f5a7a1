"""Mixed images: MixUp blends two, CutMix pastes a box of one into the other; labels are shared out alike.

Zhang, Cisse, Dauphin & Lopez-Paz 2018, arXiv 1710.09412; Yun et al. 2019, arXiv 1905.04899. With adversarial training
CutMix helps where weights are averaged (Rebuffi et al. 2021, arXiv 2103.01946).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

KINDS = ("none", "mixup", "cutmix")


@partial(jax.jit, static_argnames=("kind", "classes"))
def mix(key: Array, x: Array, y: Array, alpha: float, *, kind: str, classes: int) -> tuple[Array, Array]:
    """Mix each image with another one of its batch.

    Parameters
    ----------
    key : PRNG key of the batch.
    x, y : images float32 `[B, H, W, C]`, labels int32 `[B]` in [0, classes).
    alpha : each image keeps a share drawn from Beta(alpha, alpha), one draw an image.
    kind : mixup or cutmix.

    Returns
    -------
    tuple of Array
        Images, and the share of every class in each, float32 `[B, classes]`, rows summing to 1.
    """
    pairing, shares, places = jax.random.split(key, 3)
    other = jax.random.permutation(pairing, len(x))
    keep = jax.random.beta(shares, alpha, alpha, (len(x),))
    if kind == "mixup":
        images = _weighted(keep, x, x[other])
    else:
        inside = jax.vmap(partial(_box, size=(x.shape[1], x.shape[2])))(jax.random.split(places, len(x)), 1 - keep)
        images, keep = jnp.where(inside[..., None], x[other], x), 1 - inside.mean((1, 2))
    return images, _weighted(keep, jax.nn.one_hot(y, classes), jax.nn.one_hot(y[other], classes))


def leading(y: Array) -> Array:
    """Labels int32 `[B]` that attacks lead away from: those given, or the class with the largest share of `[B, K]`."""
    return y if y.ndim == 1 else y.argmax(-1).astype(jnp.int32)


def shares(y: Array, classes: int) -> Array:
    """Share of every class, float32 `[B, K]`, of labels `[B]` or of what is shares already."""
    return jax.nn.one_hot(y, classes) if y.ndim == 1 else y


def _weighted(keep: Array, a: Array, b: Array) -> Array:
    keep = keep.reshape(-1, *[1] * (a.ndim - 1))
    return keep * a + (1 - keep) * b


def _box(key: Array, area: Array, *, size: tuple[int, int]) -> Array:
    """Which pixels lie in a box of this share of the area, around a uniform centre, cut off at the edges; bool."""
    centre = jax.random.uniform(key, (2,))
    rows, columns = (
        jnp.abs(jnp.arange(n) + 0.5 - at * n) < n * jnp.sqrt(area) / 2 for n, at in zip(size, centre, strict=True)
    )
    return rows[:, None] & columns[None, :]
