"""MultiTargeted (Gowal, Uesato, Qin, Huang, Mann & Kohli 2019, arXiv 1910.09338): every wrong class in turn.

Each run maximises one difference of two logits, z_target - z_label. For a piecewise linear network it is piecewise
linear, and the maximum over all targets is the margin: no local maximum of one class hides the others.
"""

from typing import Literal

from advbench.attacks.base import setting
from advbench.attacks.pgd import PGD


class MultiTargeted(PGD):
    """PGD on the difference of logits to every other class, the likeliest first.

    Steps and their size are those of `pgd`; the authors' own evaluations step by Adam, and restart.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(MultiTargeted(steps=100))
    'multitargeted:steps=100'
    """

    cost = "40 gradients a class"
    paper = "Gowal et al. 2019, arXiv 1910.09338"

    loss: Literal["ce", "margin", "dlr", "kl", "difference"] = setting(default="difference")
    targets: int = setting(default=1000)  # all other classes
