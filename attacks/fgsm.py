"""Fast gradient sign method (Goodfellow, Shlens & Szegedy 2015, arXiv 1412.6572)."""

from typing import Literal

from advbench.attacks.base import setting
from advbench.attacks.pgd import PGD


class FGSM(PGD):
    """One step of the full eps from the clean image: the shortest PGD (in L2 and L1, the fast gradient method).

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> FGSM()(model, linf, x, y, keys).gradients.tolist()
    [1, 1]
    """

    cost = "1 gradient"
    paper = "Goodfellow et al. 2015, arXiv 1412.6572"

    steps: int = 1
    rel_step_size: float = 1.0
    start: Literal["uniform", "clean", "jitter"] = setting(default="clean")
