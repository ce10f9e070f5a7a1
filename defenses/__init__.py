"""Training objectives and the one training loop. A new defense is one file here and one line below."""

from advbench.defenses.base import Defense
from advbench.defenses.fgsm_rs import FastTraining
from advbench.defenses.pgd import PGDTraining
from advbench.defenses.standard import Standard
from advbench.defenses.trades import TRADES

DEFENSES: dict[str, type[Defense]] = {
    "standard": Standard,
    "pgd": PGDTraining,
    "fgsm-rs": FastTraining,
    "trades": TRADES,
}

__all__ = ["DEFENSES", "TRADES", "Defense", "FastTraining", "PGDTraining", "Standard"]
