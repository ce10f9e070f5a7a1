"""Basic iterative method, or iterative FGSM (Kurakin, Goodfellow & Bengio 2017, arXiv 1607.02533)."""

from advbench.attacks.base import setting
from advbench.attacks.pgd import PGD


class BIM(PGD):
    """PGD from the clean image, ten steps of a tenth of eps."""

    cost = "10 gradients"
    paper = "Kurakin et al. 2017, arXiv 1607.02533"

    steps: int = 10
    rel_step_size: float = 0.1
    start: str = setting(default="clean")
