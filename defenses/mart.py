"""Misclassification-aware adversarial training (Wang, Zou, Yi, Bailey, Ma & Gu 2020, ICLR)."""

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.nn import logsumexp, softmax

from advbench.attacks import PGD
from advbench.attacks.losses import kl
from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.base import ByAttack


class MART(ByAttack):
    """Lower the likeliest wrong class too, and smooth most where the clean image is misclassified.

    The settings are the authors' for a ResNet-18 on CIFAR-10; for wide networks their code has `beta=6`.

    Parameters
    ----------
    beta
        Weight of the divergence, at least 0: the paper's lambda.
    steps
        Ascent steps of PGD, at least 1.
    rel_step_size
        Length of a step, in units of eps, above 0: the authors' 0.007 at eps 0.031.

    Examples
    --------
    >>> MART(beta=6.0).attack.start
    'jitter'
    """

    paper = "Wang et al. 2020, ICLR, openreview rklOg6EFwS"

    beta: float = 5.0
    steps: int = 10
    rel_step_size: float = 7 / 31

    @property
    def attack(self) -> PGD:
        return PGD(steps=self.steps, rel_step_size=self.rel_step_size, start="jitter", keep=False)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.beta < 0:
            raise ValueError(f"MART needs beta >= 0, not {self.beta:g}")

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        clean, moved = model(x), model(x_adv)
        boosted = optax.softmax_cross_entropy(moved, target) + jax.vmap(wrong)(moved, target)
        missed = 1 - (softmax(clean) * target).sum(-1)  # probability of misclassifying the clean image
        return boosted + self.beta * missed * jax.vmap(kl)(moved, clean), moved


def wrong(logits: Array, target: Array) -> Array:
    """Return -log(1 - p) of the likeliest wrong class, one image; from the other logits, so that it stays finite.

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    target : Array
        Class probabilities, float32 `[K]`.

    Returns
    -------
    Array
        Scalar, at least 0.
    """
    classes = jnp.arange(logits.size)
    rival = jnp.where(classes == target.argmax(), -jnp.inf, logits).argmax()
    return logsumexp(logits) - logsumexp(jnp.where(classes == rival, -jnp.inf, logits))
