"""Attack algorithms in pure JAX. A new attack is one file here and one line below."""

from advbench.attacks.base import Aim, Attack, Model, Proposal
from advbench.attacks.bim import BIM
from advbench.attacks.cw import CW
from advbench.attacks.fgsm import FGSM
from advbench.attacks.mim import DIFGSM, MIFGSM, TIFGSM, VMIFGSM
from advbench.attacks.multitargeted import MultiTargeted
from advbench.attacks.noise import GaussianNoise, SaltPepper, UniformNoise
from advbench.attacks.pgd import PGD
from advbench.attacks.pgd_adam import PGDAdam
from advbench.attacks.randomised import Randomised, bpda
from advbench.attacks.spatial import Spatial
from advbench.attacks.suites import SUITES
from advbench.attacks.threat import NORMS, Threat

ATTACKS: dict[str, type[Attack]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "cw": CW,
    "bim": BIM,
    "mi-fgsm": MIFGSM,
    "di-fgsm": DIFGSM,
    "ti-fgsm": TIFGSM,
    "vmi-fgsm": VMIFGSM,
    "pgd-adam": PGDAdam,
    "multitargeted": MultiTargeted,
    "uniform-noise": UniformNoise,
    "gaussian-noise": GaussianNoise,
    "salt-pepper": SaltPepper,
    "spatial": Spatial,
}

__all__ = [
    "ATTACKS",
    "CW",
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
