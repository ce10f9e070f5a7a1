"""Preflight: the numerics of this machine, and whether a model can be evaluated at all."""

from advbench.doctor.machine import Check, selftest
from advbench.doctor.model import CHECKS, examine

__all__ = ["CHECKS", "Check", "examine", "selftest"]
