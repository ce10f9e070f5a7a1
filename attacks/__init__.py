"""Attack algorithms in pure JAX. A new attack is one file here and one line below."""

from advbench.attacks.base import Aim, Attack, Model, Proposal
from advbench.attacks.boundary import Boundary
from advbench.attacks.cw import CW
from advbench.attacks.fgsm import FGSM
from advbench.attacks.hopskipjump import HopSkipJump
from advbench.attacks.pgd import PGD
from advbench.attacks.rays import RayS
from advbench.attacks.threat import NORMS, Threat

ATTACKS: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "cw": CW,
    "boundary": Boundary,
    "hopskipjump": HopSkipJump,
    "rays": RayS,
}

__all__ = [
    "ATTACKS",
    "CW",
    "FGSM",
    "NORMS",
    "PGD",
    "Aim",
    "Attack",
    "Boundary",
    "HopSkipJump",
    "Model",
    "Proposal",
    "RayS",
    "Threat",
]
