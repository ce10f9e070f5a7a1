"""Attack algorithms in pure JAX. A new attack is one file here and one line below."""

from advbench.attacks.base import Aim, Attack, Model, Proposal
from advbench.attacks.cw import CW
from advbench.attacks.fab import FAB
from advbench.attacks.fgsm import FGSM
from advbench.attacks.pgd import PGD
from advbench.attacks.randomised import Randomised, bpda
from advbench.attacks.suites import SUITES
from advbench.attacks.threat import NORMS, Threat

ATTACKS: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "cw": CW,
    "fab": FAB,
}

__all__ = [
    "ATTACKS",
    "CW",
    "FAB",
    "FGSM",
    "NORMS",
    "PGD",
    "SUITES",
    "Aim",
    "Attack",
    "Model",
    "Proposal",
    "Randomised",
    "Threat",
    "bpda",
]
