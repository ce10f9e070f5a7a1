"""The table of ATen operators, and what its parts share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
from jax import lax

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators import OPERATORS as ONNX

Value = Any  # an array or a number
OPERATORS: Final[dict[str, Callable[..., Any]]] = {}
"""By name, like `aten.add`; with its overload, like `aten.max.dim`, where that has a meaning of its own."""

HIGHEST: Final = lax.Precision.HIGHEST  # else GPUs multiply in TF32, which flips predictions


def entered(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into `OPERATORS`.

    Parameters
    ----------
    *names : str
        Names without the namespace `aten`; with the overload if that has another meaning.

    Returns
    -------
    Callable[[Callable[..., Any]], Callable[..., Any]]
        Decorator of the function.
    """

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS.update((name if name.startswith("python.") else f"aten.{name}", function) for name in names)
        return function

    return enter


def as_onnx(op: str, *inputs: Value, **attributes: Any) -> Any:
    """Compute by an operator that ONNX has too.

    Parameters
    ----------
    op : str
        Name of the operator in ONNX.
    *inputs : Value
        Its inputs.
    **attributes
        Its attributes, by their names in ONNX.

    Returns
    -------
    Any
        Its output.
    """
    return ONNX[op](OnnxNode(op, op, (), (), attributes, 20), *inputs)


def number(dtype: str | None) -> Any:
    """Return the type of that name, of those that JAX has.

    Parameters
    ----------
    dtype : str or None
        Name, like `float32`.

    Returns
    -------
    Any
        The type; None for None.
    """
    return None if dtype is None else jax.dtypes.canonicalize_dtype(jax.numpy.dtype(dtype))
