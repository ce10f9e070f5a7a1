"""Robustness proven from below: bounds of the network, or votes of its smoothed classifier."""

from advbench.certify.certificate import Certificate, Smoothing
from advbench.certify.certify import certify

__all__ = ["Certificate", "Smoothing", "certify"]
