"""Preflight: the numerics of this machine, and whether a model can be evaluated at all."""

from advbench.doctor.expected import EXPECTED, expected
from advbench.doctor.machine import Check, selftest
from advbench.doctor.model import CHECKS, TRANSLATED, clean_accuracy, examine

__all__ = ["CHECKS", "EXPECTED", "TRANSLATED", "Check", "clean_accuracy", "examine", "expected", "selftest"]
