"""Transfer from a surrogate trained to imitate the model (Papernot et al. 2017, arXiv 1602.02697)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from advbench.attacks import PGD
from advbench.nn import create
from advbench.nn.frozen import freeze
from advbench.preflight.made import Finding, NotMade
from advbench.preflight.masking.guard import missed
from advbench.preflight.masking.probe import STEPS, Probe

TRAINING = 300  # steps
BATCH = 64
ENOUGH = 128  # images to learn from


def transfer_beats_gradients(p: Probe) -> Finding:
    """Check that the model's own gradients break what adversarial images of a surrogate break."""
    if len(p.rest) < ENOUGH:
        why = f"training a surrogate needs {ENOUGH} further images, and there are {len(p.rest)}"
        return NotMade(("transfer_beats_gradients",), why)
    labels = p.logits(p.rest)
    surrogate, agreement = imitate(p.rest, labels.argmax(1).astype(np.int32), labels.shape[1], p.seed)
    attack = PGD(steps=STEPS, rel_step_size=0.1, start="clean", keep=False)  # deep into the wrong side
    transferred = p.breaks(p.attack(attack, p.threat, surrogate))
    return missed(
        "transfer_beats_gradients",
        transferred,
        *p.white,
        message="transfer from a surrogate breaks {count} of {n} images that the model's own gradients don't",
        trained_on=len(p.rest),
        agreement=agreement,
    )


def imitate(x: np.ndarray, y: np.ndarray, classes: int, seed: int) -> tuple[Any, float]:
    """Train a small surrogate on the model's predictions.

    Parameters
    ----------
    x, y : np.ndarray
        Images float32 `[n, H, W, C]` in [0, 1], and the model's predictions int32 `[n]`.
    classes : int
        Number of logits.
    seed : int
        Seed of weights and batches.

    Returns
    -------
    tuple of Model and float
        The surrogate, and the share of up to 512 training images on which it agrees with the model.
    """
    height, width, channels = x.shape[1:]
    name = "wong-cnn" if min(height, width) >= 8 else "mlp"
    graph, params = nnx.split(create(name, shape=(height, width, channels), classes=classes, seed=seed))
    optimiser = optax.adam(2e-3)

    @jax.jit
    def learn(params: Any, moments: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            each: jax.Array = optax.softmax_cross_entropy_with_integer_labels(nnx.merge(graph, params)(x), y)
            return each.mean()

        update, moments = optimiser.update(jax.grad(loss)(params), moments)
        return optax.apply_updates(params, update), moments

    rng, moments = np.random.default_rng(seed), optimiser.init(params)
    for _ in range(TRAINING):
        at = rng.integers(0, len(x), BATCH)
        params, moments = learn(params, moments, x[at], y[at])
    surrogate = freeze(nnx.merge(graph, params))
    return surrogate, float((np.asarray(surrogate(jax.device_put(x[:512]))).argmax(1) == y[:512]).mean())
