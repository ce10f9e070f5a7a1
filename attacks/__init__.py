"""Attack algorithms in pure JAX. A new attack is one file here and one line below."""

from advbench.attacks.base import Aim, Attack, Model, Proposal
from advbench.attacks.cw import CW
from advbench.attacks.fgsm import FGSM
from advbench.attacks.pgd import PGD
from advbench.attacks.randomised import Randomised, bpda
from advbench.attacks.simba import SimBA
from advbench.attacks.spsa import SPSA
from advbench.attacks.square import Square
from advbench.attacks.suites import SUITES
from advbench.attacks.threat import NORMS, Threat

ATTACKS: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "cw": CW,
    "square": Square,
    "spsa": SPSA,
    "simba": SimBA,
}

__all__ = [
    "ATTACKS",
    "CW",
    "FGSM",
    "NORMS",
    "PGD",
    "SPSA",
    "SUITES",
    "Aim",
    "Attack",
    "Model",
    "Proposal",
    "Randomised",
    "SimBA",
    "Square",
    "Threat",
    "bpda",
]
