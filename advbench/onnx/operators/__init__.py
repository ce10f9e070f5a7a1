"""ONNX operators on NumPy and JAX arrays, by name: `OPERATORS`."""

from advbench.onnx.operators import (
    attention,
    elementwise,
    indexed,
    ordering,
    products,
    quantised,
    recurrent,
    resize,
    sampling,
    shapes,
    windows,
)
from advbench.onnx.operators.base import OPERATORS, Untranslatable, known

__all__ = [
    "OPERATORS",
    "Untranslatable",
    "attention",
    "elementwise",
    "indexed",
    "known",
    "ordering",
    "products",
    "quantised",
    "recurrent",
    "resize",
    "sampling",
    "shapes",
    "windows",
]
