"""ONNX operators on NumPy and JAX arrays, by name: `OPERATORS`."""

from advbench.onnx.operators import (
    elementwise,
    products,
    shapes,
    windows,
)
from advbench.onnx.operators.base import OPERATORS, Untranslatable, known

__all__ = ["OPERATORS", "Untranslatable", "elementwise", "known", "products", "shapes", "windows"]
