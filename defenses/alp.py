"""Adversarial logit pairing (Kannan, Kurakin & Goodfellow 2018, arXiv 1803.06373): broken, and kept as a control."""

import optax
from jax import Array

from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.pgd import PGDTraining


class LogitPairing(PGDTraining):
    """Train on clean and PGD images alike and pull their logits together.

    What it claimed on ImageNet didn't last: 0.6 % were left under a stronger attack (Engstrom, Ilyas & Athalye 2018,
    arXiv 1807.10272). An evaluation that shows it far above PGD training should be doubted.
    """

    paper = "Kannan et al. 2018, arXiv 1803.06373; broken by Engstrom et al. 2018, arXiv 1807.10272"

    weight: float = 0.5  # of the mean squared difference of the logits

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.weight < 0:
            raise ValueError(f"ALP needs weight >= 0, not {self.weight:g}")

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        clean, moved = model(x), model(x_adv)
        entropy = optax.softmax_cross_entropy(clean, target) + optax.softmax_cross_entropy(moved, target)
        return entropy / 2 + self.weight * ((clean - moved) ** 2).mean(-1), moved
