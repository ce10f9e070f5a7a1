"""Attack algorithms in pure JAX. A new attack is one file here and one line below."""

from advbench.attacks.apgd import APGD
from advbench.attacks.base import Attack, Proposal, TargetedLabels
from advbench.attacks.bim import BIM
from advbench.attacks.boundary import Boundary
from advbench.attacks.cw import CW
from advbench.attacks.cw_linf import CWLinf
from advbench.attacks.ddn import DDN
from advbench.attacks.deepfool import DeepFool
from advbench.attacks.ead import EAD
from advbench.attacks.fab import FAB
from advbench.attacks.fgsm import FGSM
from advbench.attacks.fmn import FMN
from advbench.attacks.hopskipjump import HopSkipJump
from advbench.attacks.mim import (
    DIFGSM,
    MIFGSM,
    TIFGSM,
)
from advbench.attacks.multitargeted import MultiTargeted
from advbench.attacks.noise import GaussianNoise, SaltPepper, UniformNoise
from advbench.attacks.pgd import PGD
from advbench.attacks.pgd_adam import PGDAdam
from advbench.attacks.rays import RayS
from advbench.attacks.simba import SimBA
from advbench.attacks.spatial import Spatial
from advbench.attacks.spsa import SPSA
from advbench.attacks.square import Square
from advbench.attacks.suites import SUITES
from advbench.attacks.vmi import VMIFGSM
from advbench.core.model import Model
from advbench.core.norms import NORMS
from advbench.core.randomised import Randomised, bpda
from advbench.core.threat import Threat

ATTACKS: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "bim": BIM,
    "pgd": PGD,
    "pgd-adam": PGDAdam,
    "multitargeted": MultiTargeted,
    "apgd": APGD,
    "fab": FAB,
    "mi-fgsm": MIFGSM,
    "di-fgsm": DIFGSM,
    "ti-fgsm": TIFGSM,
    "vmi-fgsm": VMIFGSM,
    "cw": CW,
    "cw-linf": CWLinf,
    "deepfool": DeepFool,
    "ddn": DDN,
    "fmn": FMN,
    "ead": EAD,
    "square": Square,
    "spsa": SPSA,
    "simba": SimBA,
    "boundary": Boundary,
    "hopskipjump": HopSkipJump,
    "rays": RayS,
    "uniform-noise": UniformNoise,
    "gaussian-noise": GaussianNoise,
    "salt-pepper": SaltPepper,
    "spatial": Spatial,
}
"""Attacks by the name that is typed."""

__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "CW",
    "DDN",
    "DIFGSM",
    "EAD",
    "FAB",
    "FGSM",
    "FMN",
    "MIFGSM",
    "NORMS",
    "PGD",
    "SPSA",
    "SUITES",
    "TIFGSM",
    "VMIFGSM",
    "Attack",
    "Boundary",
    "CWLinf",
    "DeepFool",
    "GaussianNoise",
    "HopSkipJump",
    "Model",
    "MultiTargeted",
    "PGDAdam",
    "Proposal",
    "Randomised",
    "RayS",
    "SaltPepper",
    "SimBA",
    "Spatial",
    "Square",
    "TargetedLabels",
    "Threat",
    "UniformNoise",
    "bpda",
]
