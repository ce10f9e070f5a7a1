"""Catastrophic overfitting: FGSM accuracy stays high while PGD accuracy falls (Wong et al. 2020, arXiv 2001.03994)."""

from advbench.defenses.validation import Accuracy

FALL = 0.2  # of PGD accuracy, below its best
SHARE = 0.5  # of FGSM accuracy that PGD accuracy should keep
PATIENCE = 3  # roll-backs before training ends


def overfits(now: Accuracy, best: float) -> bool:
    """Whether the network has learned to withstand one step only; `best` is its best PGD accuracy so far, in [0, 1]."""
    return now.robust < best - FALL and now.robust < SHARE * now.fgsm


def one_step_only(best: Accuracy) -> bool:
    """Whether even the best weights withstand one step and no more, so that there was nothing to fall from."""
    return overfits(best, best.fgsm)
