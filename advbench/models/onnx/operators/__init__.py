"""ONNX operators on NumPy and JAX arrays, by name: `OPERATORS`."""

from advbench.models.onnx.operators import elementwise, products, shapes, windows
from advbench.models.onnx.operators.base import OPERATORS, Untranslatable, known

__all__ = ["OPERATORS", "Untranslatable", "elementwise", "known", "products", "shapes", "windows"]
