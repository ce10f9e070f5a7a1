"""The binarization test (Zimmermann, Brendel, Tramer & Carlini 2022, arXiv 2206.13991).

For each image a binary classifier is fitted to the model's outputs such that an adversarial image exists by
construction: it predicts 0 for points inside the ball and 1 for one point on its edge. An attack that misses this image
can't be trusted. The paper fits to the last hidden layer. A model here is a function without access to hidden layers,
so the classifier is fitted to its logits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from advbench.attacks import PGD, Model, Threat
from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson
from advbench.preflight.made import Finding, NotMade
from advbench.preflight.masking.guard import FEW
from advbench.preflight.masking.probe import Probe

INNER = 64  # points within the ball, at most 0.9 eps away
DRAWS = 64  # random points of the edge, which show whether the test is too easy
WANTED = 0.95  # share of images for which the attack must succeed
STEPS = 50


def binarization_test_fails(p: Probe) -> Finding:
    """Check that PGD finds adversarial images that exist by construction."""
    inside = np.stack([p.map(lambda k, x: _inside(p.threat, k, x), f"inner {i}", p.x) for i in range(INNER)], 1)
    edge = p.map(lambda k, x: _edge(p.threat, k, x), "edge", p.x)
    weights, bias, separable = readout(
        p.logits(inside.reshape(-1, *p.x.shape[1:])).reshape(len(p.x), INNER, -1), p.logits(edge)
    )
    if separable.sum() < FEW:
        why = f"only for {int(separable.sum())} of {len(p.x)} images do logits separate the ball's edge from its inside"
        return NotMade(("binarization_test_fails",), why)

    attack = PGD(steps=STEPS, rel_step_size=0.1, start="clean", loss="margin")

    def find(keys: jax.Array, *batch: np.ndarray) -> tuple[jax.Array, jax.Array]:
        x, w, b = map(jax.device_put, batch)
        binary = Partial(_binary, p.model, w, b)
        inner = jnp.zeros(len(x), jnp.int32)
        found = _says_edge(Partial(_binary, p.judge, w, b), attack(binary, p.threat, x, inner, keys).x)
        return found, _any_edge(binary, p.threat, keys, x)

    found, drawn = (mask[separable] for mask in p.map(find, "binarization", p.x, weights, bias))
    count, n = int(found.sum()), len(found)
    if clopper_pearson(count, n)[1] >= WANTED:
        return None
    return Flag(
        name="binarization_test_fails",
        level="invalid",
        evidence={
            "success": count / n,
            "random_success": float(drawn.mean()),
            "n": n,
            "threshold": WANTED,
            "high": clopper_pearson(count, n)[1],
            "readout": "logits",
        },
        message=f"PGD finds only {count} of {n} adversarial images that exist by construction (random search: "
        f"{int(drawn.sum())}): images that it fails to break may not be robust",
    )


def readout(inner: np.ndarray, edge: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit for each image a hyperplane between its inner points and its edge point.

    Parameters
    ----------
    inner, edge : np.ndarray
        Features of the inner points `[n, m, K]` and of the edge point `[n, K]`.

    Returns
    -------
    weights : np.ndarray
        float32 `[n, K]`.
    bias : np.ndarray
        float32 `[n]`: features @ weights + bias > 0 for the edge point.
    separable : np.ndarray
        bool `[n]`: such a hyperplane exists.
    """
    inner, edge = inner.astype(float), edge.astype(float)
    mean = inner.mean(1)
    off = inner - mean[:, None]
    spread = np.einsum("nmi,nmj->nij", off, off) / inner.shape[1]
    ridge = 1e-3 * np.trace(spread, axis1=1, axis2=2)[:, None, None] / inner.shape[2] + 1e-12
    weights = np.linalg.solve(spread + ridge * np.eye(inner.shape[2]), (edge - mean)[..., None])[..., 0]
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-30)
    highest = np.einsum("nmi,ni->nm", inner, weights).max(1)
    at = (edge * weights).sum(1)
    usual = (mean * weights).sum(1)
    bias = -(0.1 * highest + 0.9 * at)  # close to the edge point, so that only few points of the ball are adversarial
    separable = at - highest > 1e-3 * np.abs(at - usual) + 1e-6 * np.abs(at)
    return weights.astype(np.float32), bias.astype(np.float32), separable


def _binary(model: Model, weights: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
    score = (model(x) * weights).sum(1) + bias
    return jnp.stack([-score, score], 1)


@jax.jit
def _inside(threat: Threat, keys: jax.Array, x: jax.Array) -> jax.Array:
    return jax.vmap(Threat(threat.norm, 0.9 * threat.eps).start)(keys, x)


@jax.jit
def _edge(threat: Threat, keys: jax.Array, x: jax.Array) -> jax.Array:
    """Return a random point as far away as the ball and the pixel range allow, `[B, H, W, C]`."""

    def far(key: jax.Array, x: jax.Array) -> jax.Array:
        d = threat.norm.sample(key, x)
        d = jnp.sign(d) if threat.norm.name == "linf" else d / threat.norm.length(d)
        return threat.project(x, x + threat.eps * d)

    return jax.vmap(far)(keys, x)


@jax.jit
def _says_edge(binary: Model, x: jax.Array) -> jax.Array:
    says: jax.Array = binary(x).argmax(1) == 1
    return says


@jax.jit
def _any_edge(binary: Model, threat: Threat, keys: jax.Array, x: jax.Array) -> jax.Array:
    def draw(i: jax.Array) -> jax.Array:
        others = jax.vmap(jax.random.fold_in, (0, None))(keys, 1000 + i)
        says: jax.Array = _says_edge(binary, _edge(threat, others, x))
        return says

    found: jax.Array = jax.lax.map(draw, jnp.arange(DRAWS)).any(0)
    return found
