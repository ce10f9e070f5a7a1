"""Fast adversarial training: one step from a random start (Wong, Rice & Kolter 2020, arXiv 2001.03994)."""

from advbench.attacks import PGD
from advbench.defenses.base import ByAttack


class FastTraining(ByAttack):
    """Train on one FGSM step, longer than eps, from a random point of the ball: cheap, but may overfit to it.

    Parameters
    ----------
    rel_step_size
        Length of the step, in units of eps, above 0.

    Examples
    --------
    >>> FastTraining().attack.steps
    1
    """

    paper = "Wong et al. 2020, arXiv 2001.03994"
    watch = 200

    rel_step_size: float = 1.25

    @property
    def attack(self) -> PGD:
        return PGD(steps=1, rel_step_size=self.rel_step_size, keep=False)
