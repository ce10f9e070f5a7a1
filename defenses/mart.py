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
    """Push the likeliest wrong class down too, and smooth most where the clean image is not recognised.

    The settings are the authors' for a ResNet-18 on CIFAR-10; for wide networks their code has `beta=6`.
    """

    paper = "Wang et al. 2020, ICLR, openreview rklOg6EFwS"

    beta: float = 5.0  # weight of the divergence: the paper's lambda
    steps: int = 10
    rel_step_size: float = 7 / 31  # in units of eps: the authors' 0.007 at eps 0.031

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
        missed = 1 - (softmax(clean) * target).sum(-1)  # probability that the clean image is taken for another class
        return boosted + self.beta * missed * jax.vmap(kl)(moved, clean), moved


def wrong(logits: Array, target: Array) -> Array:
    """-log(1 - p) of the likeliest wrong class, one image; from the other logits, so that it stays finite."""
    classes = jnp.arange(logits.size)
    rival = jnp.where(classes == target.argmax(), -jnp.inf, logits).argmax()
    return logsumexp(logits) - logsumexp(jnp.where(classes == rival, -jnp.inf, logits))
