"""Preflight: the numerics of this machine, and whether a model can be evaluated at all."""

from advbench.doctor.machine import Check, selftest
from advbench.doctor.model import CHECKS, clean_accuracy, examine

__all__ = ["CHECKS", "Check", "clean_accuracy", "examine", "selftest"]
