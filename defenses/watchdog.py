"""Catastrophic overfitting: FGSM accuracy stays high while PGD accuracy drops (Wong et al. 2020, arXiv 2001.03994)."""

from advbench.defenses.validation import Accuracy

FALL = 0.2  # of PGD accuracy, below its best
SHARE = 0.5  # of FGSM accuracy that PGD accuracy should keep
PATIENCE = 3  # roll-backs before training ends


def overfits(now: Accuracy, best: float) -> bool:
    """Detect a network that is robust to one step only.

    Parameters
    ----------
    now : Accuracy
        Latest accuracies.
    best : float
        Best PGD accuracy so far, in [0, 1].

    Returns
    -------
    bool
        True if PGD accuracy dropped while FGSM accuracy stayed high.
    """
    return now.robust < best - FALL and now.robust < SHARE * now.fgsm


def one_step_only(best: Accuracy) -> bool:
    """Detect best weights that are robust to one step only, where PGD accuracy was never high enough to drop.

    Parameters
    ----------
    best : Accuracy
        Accuracies of the best weights.

    Returns
    -------
    bool
        True if PGD accuracy is far below FGSM accuracy.
    """
    return overfits(best, best.fgsm)
