"""Training objectives and the one training loop. A new defense is one file here and one line below."""

from advbench.defenses.base import Defense
from advbench.defenses.crown_ibp import CROWNIBP
from advbench.defenses.fgsm_rs import FastTraining
from advbench.defenses.ibp import IBP
from advbench.defenses.pgd import PGDTraining
from advbench.defenses.standard import Standard
from advbench.defenses.trades import TRADES

DEFENSES: dict[str, type[Defense]] = {
    "standard": Standard,
    "pgd": PGDTraining,
    "fgsm-rs": FastTraining,
    "trades": TRADES,
    "ibp": IBP,
    "crown-ibp": CROWNIBP,
}

__all__ = ["CROWNIBP", "DEFENSES", "IBP", "TRADES", "Defense", "FastTraining", "PGDTraining", "Standard"]
