"""TRADES: clean accuracy plus beta times local smoothness (Zhang et al. 2019, arXiv 1901.08573)."""

import jax
import optax
from jax import Array

from advbench.attacks import PGD
from advbench.attacks.losses import kl
from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.base import ByAttack, predict


class TRADES(ByAttack):
    """Minimise the clean loss, and the divergence of the predictions within the ball.

    The settings are the authors' for CIFAR-10; for MNIST at eps 0.3 they have `beta=1,steps=40,rel_step_size=1/30`.

    Parameters
    ----------
    beta
        Weight of the divergence, at least 0.
    steps
        Ascent steps of PGD, at least 1.
    rel_step_size
        Length of a step, in units of eps, above 0: the authors' 0.007 at eps 0.031.

    Examples
    --------
    >>> TRADES(beta=1.0, steps=40).attack.loss
    'kl'
    """

    paper = "Zhang et al. 2019, arXiv 1901.08573"

    beta: float = 6.0
    steps: int = 10
    rel_step_size: float = 7 / 31

    @property
    def attack(self) -> PGD:
        return PGD(steps=self.steps, rel_step_size=self.rel_step_size, loss="kl", start="jitter", keep=False)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.beta < 0:
            raise ValueError(f"TRADES needs beta >= 0, not {self.beta:g}")

    def perturb(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        return self.attack(model, threat, x, predict(model, x), keys).x

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        clean, moved = model(x), model(x_adv)
        natural = optax.softmax_cross_entropy(clean, target)
        return natural + self.beta * jax.vmap(kl)(moved, clean), moved
