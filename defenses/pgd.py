"""PGD adversarial training (Madry, Makelov, Schmidt, Tsipras & Vladu 2018, arXiv 1706.06083)."""

from advbench.attacks import PGD
from advbench.defenses.base import ByAttack


class PGDTraining(ByAttack):
    """Train on the output of PGD; MNIST settings by default, `steps=7,rel_step_size=0.25` for CIFAR.

    Parameters
    ----------
    steps
        Ascent steps, at least 1.
    rel_step_size
        Length of a step, in units of eps, above 0.

    Examples
    --------
    >>> PGDTraining(steps=7, rel_step_size=0.25).attack.keep
    False
    """

    paper = "Madry et al. 2018, arXiv 1706.06083"

    steps: int = 40
    rel_step_size: float = 1 / 30

    @property
    def attack(self) -> PGD:
        return PGD(steps=self.steps, rel_step_size=self.rel_step_size, keep=False)
