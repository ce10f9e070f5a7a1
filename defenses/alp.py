"""Adversarial logit pairing (Kannan, Kurakin & Goodfellow 2018, arXiv 1803.06373): broken, and kept as a control."""

import optax
from jax import Array

from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.pgd import PGDTraining


class LogitPairing(PGDTraining):
    """Train on clean and PGD images alike, and penalise the distance of their logits.

    The robustness claimed on ImageNet did not last: a stronger attack left 0.6 % (Engstrom, Ilyas & Athalye 2018, arXiv
    1807.10272). Doubt an evaluation that shows this defense far above PGD training.

    Parameters
    ----------
    weight
        Weight of the mean squared difference of the logits, at least 0.

    Examples
    --------
    >>> LogitPairing(weight=1.0).attack.steps
    40
    """

    paper = "Kannan et al. 2018, arXiv 1803.06373; broken by Engstrom et al. 2018, arXiv 1807.10272"

    weight: float = 0.5

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.weight < 0:
            raise ValueError(f"ALP needs weight >= 0, not {self.weight:g}")

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        clean, moved = model(x), model(x_adv)
        entropy = optax.softmax_cross_entropy(clean, target) + optax.softmax_cross_entropy(moved, target)
        return entropy / 2 + self.weight * ((clean - moved) ** 2).mean(-1), moved
