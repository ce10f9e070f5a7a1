"""Preflight: the numerics of this machine, and whether a model can be evaluated at all."""

from advbench.preflight.expected import EXPECTED, expected
from advbench.preflight.machine import Check, selftest
from advbench.preflight.model import (
    CHECKS,
    TRANSLATED,
    clean_accuracy,
    examine,
)

__all__ = ["CHECKS", "EXPECTED", "TRANSLATED", "Check", "clean_accuracy", "examine", "expected", "selftest"]
