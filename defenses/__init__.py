"""Training objectives and the one training loop. A new defense is one file here and one line below."""

from advbench.defenses.alp import LogitPairing
from advbench.defenses.awp import AWP, around
from advbench.defenses.base import Defense
from advbench.defenses.crown_ibp import CROWNIBP
from advbench.defenses.fgsm_rs import FastTraining
from advbench.defenses.free import FreeTraining
from advbench.defenses.grad_align import GradAlign
from advbench.defenses.ibp import IBP
from advbench.defenses.mart import MART
from advbench.defenses.n_fgsm import NoiseFGSM
from advbench.defenses.noise import NoiseTraining
from advbench.defenses.pgd import PGDTraining
from advbench.defenses.standard import Standard
from advbench.defenses.trades import TRADES

DEFENSES: dict[str, type[Defense]] = {
    "standard": Standard,
    "pgd": PGDTraining,
    "fgsm-rs": FastTraining,
    "n-fgsm": NoiseFGSM,
    "grad-align": GradAlign,
    "free": FreeTraining,
    "trades": TRADES,
    "mart": MART,
    "alp": LogitPairing,
    "noise": NoiseTraining,
}
AWP_TRADES = {"gamma": 0.005, "rel_step_size": 0.25}  # as the authors of AWP have it: steps of 2/255 at eps 8/255
DEFENSES |= {
    f"awp-{name}": around(defense, **(AWP_TRADES if defense is TRADES else {}))
    for name, defense in DEFENSES.items()
    if defense.robust
}
DEFENSES |= {"ibp": IBP, "crown-ibp": CROWNIBP}
"""Defenses by the name that is typed."""

__all__ = [
    "AWP",
    "CROWNIBP",
    "DEFENSES",
    "IBP",
    "MART",
    "TRADES",
    "Defense",
    "FastTraining",
    "FreeTraining",
    "GradAlign",
    "LogitPairing",
    "NoiseFGSM",
    "NoiseTraining",
    "PGDTraining",
    "Standard",
    "around",
]
