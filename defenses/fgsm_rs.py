"""Fast adversarial training: one step from a random start (Wong, Rice & Kolter 2020, arXiv 2001.03994)."""

from jax import Array

from advbench.attacks import PGD
from advbench.attacks.base import Model
from advbench.attacks.threat import Threat
from advbench.defenses.base import Defense


class FastTraining(Defense):
    """Train on one FGSM step, longer than eps, from a uniform point of the ball: cheap, and prone to overfit to it."""

    paper = "Wong et al. 2020, arXiv 2001.03994"
    watch = 200

    rel_step_size: float = 1.25  # in units of eps

    @property
    def _attack(self) -> PGD:
        return PGD(steps=1, rel_step_size=self.rel_step_size, keep=False)

    def check(self, threat: Threat) -> None:
        self._attack.check(threat)

    def craft(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        return self._attack(model, threat, x, y, keys).x
