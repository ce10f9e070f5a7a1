"""FGSM training with aligned gradients (Andriushchenko & Flammarion 2020, arXiv 2007.02617)."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jax.lax import stop_gradient

from advbench.attacks import FGSM
from advbench.attacks.losses import cross_entropy, input_gradient
from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.base import ByAttack
from advbench.nn.frozen import freeze


class GradAlign(ByAttack):
    """Train on FGSM, and penalise input gradients that turn within the ball: there one step is a poor attack.

    The gradients compared, at the clean image and at a random point of the ball, are those of the network in evaluation
    mode, as attacks see it. Differentiating them makes a step about three times as expensive as FGSM's.

    Parameters
    ----------
    weight
        Weight of 1 - cosine, at least 0: the paper's lambda for CIFAR-10 at eps 8/255.
    rel_step_size
        Length of the FGSM step, in units of eps, above 0.

    Examples
    --------
    >>> GradAlign(weight=0.5).attack.steps
    1
    """

    paper = "Andriushchenko & Flammarion 2020, arXiv 2007.02617"
    watch = 200

    weight: float = 0.2
    rel_step_size: float = 1.0

    @property
    def attack(self) -> FGSM:
        return FGSM(rel_step_size=self.rel_step_size, keep=False)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.weight < 0:
            raise ValueError(f"GradAlign needs weight >= 0, not {self.weight:g}")

    def perturb(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        moved = self.attack(model, threat, x, y, keys).x
        return jnp.stack([moved, jax.vmap(threat.start)(keys, x)], 1)

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        moved, noisy = x_adv[:, 0], x_adv[:, 1]
        still = freeze(model) if isinstance(model, nnx.Module) else model
        logits = model(moved)
        entropy = optax.softmax_cross_entropy(logits, target)
        here, there = (input_gradient(still, cross_entropy, at, target.argmax(-1))[0] for at in (x, noisy))
        return entropy + self.weight * misaligned(here, there), logits


def misaligned(a: Array, b: Array) -> Array:
    """Return 1 - cosine between gradients, scaled so that the mean is one over images where both are nonzero.

    Parameters
    ----------
    a, b : Array
        Gradients, float32 `[B, ...]`.

    Returns
    -------
    Array
        float32 `[B]`.
    """
    (a, some), (b, others) = _unit(a), _unit(b)
    both = some & others
    cosine = (a * b).sum(-1)
    return jnp.where(both, 1 - cosine, 0) * (len(both) / jnp.maximum(both.sum(), 1))


def _unit(g: Array) -> tuple[Array, Array]:
    """Normalise rows to length 1 `[B, D]`, and mark those that were not zero."""
    flat = g.reshape(len(g), -1)
    largest = stop_gradient(jnp.abs(flat).max(-1, keepdims=True))  # tiny gradients would underflow when squared
    some = largest[:, 0] > 0
    flat = jnp.where(some[:, None], flat / jnp.where(some[:, None], largest, 1), 1.0)
    return flat / jnp.sqrt(jnp.square(flat).sum(-1, keepdims=True)), some
