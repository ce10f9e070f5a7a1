"""Fast adversarial training: one step from a random start (Wong, Rice & Kolter 2020, arXiv 2001.03994)."""

from advbench.attacks import PGD
from advbench.defenses.base import ByAttack


class FastTraining(ByAttack):
    """Train on one FGSM step, longer than eps, from a uniform point of the ball: cheap, and prone to overfit to it."""

    paper = "Wong et al. 2020, arXiv 2001.03994"
    watch = 200

    rel_step_size: float = 1.25  # in units of eps

    @property
    def attack(self) -> PGD:
        return PGD(steps=1, rel_step_size=self.rel_step_size, keep=False)
