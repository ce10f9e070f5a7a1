"""The examples in docstrings of the Python interface are right."""

import doctest
from importlib import import_module

import pytest

MODULES = (
    "api.evaluating",
    "api.attacking",
    "api.certifying",
    "api.gating",
    "api.verifying",
    "models.memory",
    "attacks.spec",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    found = doctest.testmod(import_module(f"advbench.{name}"), optionflags=doctest.ELLIPSIS)
    assert found.attempted and not found.failed
