"""Does a model hide its gradients, so that attacks fail where adversarial images exist? A check is one function."""

from advbench.preflight.masking.examine import (
    ASKED,
    CHECKS,
    FULL,
    SAMPLE,
    examine_masking,
)

__all__ = ["ASKED", "CHECKS", "FULL", "SAMPLE", "examine_masking"]
