"""Certified robustness: bounds of the network, or votes of its smoothed classifier."""

from advbench.certification.certificate import Certificate, Smoothing
from advbench.certification.certify import certify

__all__ = ["Certificate", "Smoothing", "certify"]
