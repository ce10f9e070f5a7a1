"""Adversarial-robustness benchmarking on JAX: train, attack, tabulate and gate image classifiers."""

__version__ = "0.1.0"
