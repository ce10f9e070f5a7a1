"""Core ATen operators on JAX arrays, by name: `OPERATORS`."""

from advbench.models.aten import elementwise, shapes, windows
from advbench.models.aten.table import OPERATORS

__all__ = ["OPERATORS", "elementwise", "shapes", "windows"]
