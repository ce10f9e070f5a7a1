"""PGD adversarial training (Madry, Makelov, Schmidt, Tsipras & Vladu 2018, arXiv 1706.06083)."""

from jax import Array

from advbench.attacks import PGD
from advbench.attacks.base import Model
from advbench.attacks.threat import Threat
from advbench.defenses.base import Defense


class PGDTraining(Defense):
    """Train on the worst images that PGD finds; MNIST settings by default, `steps=7,rel_step_size=0.25` for CIFAR."""

    paper = "Madry et al. 2018, arXiv 1706.06083"

    steps: int = 40
    rel_step_size: float = 1 / 30  # in units of eps

    @property
    def _attack(self) -> PGD:
        return PGD(steps=self.steps, rel_step_size=self.rel_step_size, keep=False)

    def check(self, threat: Threat) -> None:
        self._attack.check(threat)

    def craft(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        return self._attack(model, threat, x, y, keys).x
