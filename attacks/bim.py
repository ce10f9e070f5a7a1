"""Basic iterative method, or iterative FGSM (Kurakin, Goodfellow & Bengio 2017, arXiv 1607.02533)."""

from typing import Literal

from advbench.attacks.base import setting
from advbench.attacks.pgd import PGD


class BIM(PGD):
    """PGD from the clean image: ten steps of a tenth of eps.

    The paper takes steps of 1/255, as many as the lesser of eps + 4 and 1.25 eps, both in 255ths: ten of an eighth of
    eps at 8/255. Here steps grow with eps, so that their number serves any eps.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> BIM()(model, linf, x, y, keys).claims.tolist()
    [True, True]
    """

    cost = "10 gradients"
    paper = "Kurakin et al. 2017, arXiv 1607.02533"

    steps: int = 10
    rel_step_size: float = 0.1
    start: Literal["uniform", "clean", "jitter"] = setting(default="clean")
