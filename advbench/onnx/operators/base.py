"""Common parts of all operators.

A value is a NumPy array if it is known before any image is seen (shapes, indices, small constants), and a JAX array if
it depends on images or weights. Results of known values alone stay in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

Value = Any  # np.ndarray or jax.Array
Handler = Callable[..., Any]

OPERATORS: Final[dict[str, Handler]] = {}
"""Each takes its node and then the node's inputs, None for absent ones, and returns one value or a tuple of them."""

KNOWN: Final = 2**22  # most elements of a value that is known beforehand; more is no shape arithmetic
HIGHEST: Final = jax.lax.Precision.HIGHEST  # else GPUs multiply in TF32, which flips predictions


class Untranslatable(Exception):
    """A node that is not supported, or that makes no sense; the message says why."""


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Make a decorator that enters a function into `OPERATORS`.

    Parameters
    ----------
    *names : str
        Names of operators.

    Returns
    -------
    callable
        The decorator.
    """

    def enter(function: Handler) -> Handler:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


def known(*values: Value) -> bool:
    """Return whether no value depends on images or weights; absent ones don't.

    Parameters
    ----------
    *values : np.ndarray, Array or None
        Values.

    Returns
    -------
    bool
        True if all are NumPy's or None.
    """
    return all(value is None or isinstance(value, np.ndarray | np.generic) for value in values)


def xp(*values: Value) -> Any:
    """Return the module that computes with these values.

    Parameters
    ----------
    *values : np.ndarray, Array or None
        Values.

    Returns
    -------
    module
        NumPy if all are known, else `jax.numpy`.
    """
    return np if known(*values) else jnp


def ints(value: Value) -> tuple[int, ...]:
    """Return the whole numbers of a value that a shape depends on.

    Parameters
    ----------
    value : np.ndarray
        A known value.

    Returns
    -------
    tuple of int
        Its elements.

    Raises
    ------
    Untranslatable
        When it is not known.
    """
    if not known(value):
        raise Untranslatable("a shape or an index depends on the pixels or on weights")
    return tuple(int(v) for v in np.asarray(value).ravel())


def sized(shape: Iterable[int]) -> tuple[int, ...]:
    """Check the shape of a known value.

    Parameters
    ----------
    shape : iterable of int
        The shape.

    Returns
    -------
    tuple of int
        The same.

    Raises
    ------
    Untranslatable
        When it has more than `KNOWN` elements, or a negative side.
    """
    shape = tuple(shape)
    if math.prod(shape) > KNOWN or any(side < 0 for side in shape):
        raise Untranslatable(f"a constant of shape {list(shape)} is too large or has a negative side")
    return shape


def axis_of(axis: int, rank: int) -> int:
    """Return the number of an axis, counted from the front.

    Parameters
    ----------
    axis : int
        Number of the axis; negative ones count from the back.
    rank : int
        Number of axes.

    Returns
    -------
    int
        From 0 to `rank` - 1.

    Raises
    ------
    Untranslatable
        When there is no such axis.
    """
    if not -rank <= axis < rank:
        raise Untranslatable(f"there is no axis {axis} in {rank} axes")
    return axis % rank
