"""Preflight checks for gradient masking: attacks fail although adversarial images exist. Each check is a function."""

from advbench.preflight.masking.examine import (
    ASKED,
    CHECKS,
    FULL,
    SAMPLE,
    examine_masking,
)

__all__ = ["ASKED", "CHECKS", "FULL", "SAMPLE", "examine_masking"]
