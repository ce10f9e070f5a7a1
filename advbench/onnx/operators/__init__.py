"""ONNX operators on NumPy and JAX arrays, by name: `OPERATORS`."""

from advbench.onnx.operators import (
    attention,
    elementwise,
    ordering,
    products,
    quantised,
    resize,
    shapes,
    windows,
)
from advbench.onnx.operators.base import OPERATORS, Untranslatable, known

__all__ = [
    "OPERATORS",
    "Untranslatable",
    "attention",
    "elementwise",
    "known",
    "ordering",
    "products",
    "quantised",
    "resize",
    "shapes",
    "windows",
]
