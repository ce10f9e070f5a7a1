"""What holds for every test."""

from pathlib import Path

import jax
import pytest

MAPS = Path("/proc/self/maps")
MANY = 20_000  # of the 65,530 mappings that Linux grants a process; every compiled program takes several


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Forget compiled programs before there are too many: at the limit, the next compilation crashes."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY:
        jax.clear_caches()
