"""Robustness as a test: `pytest test_robustness.py`, wherever advbench is installed."""

import pytest


@pytest.fixture
def robust_model():
    """A model, a function that makes one, or its name; a trained one would come from a fixture of yours."""
    return "model.py:make"


@pytest.mark.robust(
    data="mnist", n=200, norm="linf", eps="0.02", min="40%", attacks=["fgsm", "pgd:steps=10,rel_step_size=0.25"]
)
def test_robust_accuracy():
    """All is said by the marker; what stands here runs only where that holds."""


def test_a_large_eps_costs_accuracy(robustness):
    result = robustness(data="mnist", n=100, norm="linf", eps="0.1", attacks=["fgsm"])
    assert result.clean.accuracy > 0.6
    assert result.robust.high < result.clean.low, "an attack that costs nothing is none"
