"""What all operators share.

A value is a NumPy array where it is known before any image is seen (shapes, indices, small constants), and a JAX array
where it follows from images or weights. What follows from known values alone stays in NumPy.
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
    """What a graph asks of an operator, and what is not supported; or what makes no sense."""


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Enter a function into `OPERATORS`."""

    def enter(function: Handler) -> Handler:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


def known(*values: Value) -> bool:
    """Whether values don't depend on images or weights; absent ones don't."""
    return all(value is None or isinstance(value, np.ndarray | np.generic) for value in values)


def xp(*values: Value) -> Any:
    """The module that computes with these values: NumPy if all are known, `jax.numpy` else."""
    return np if known(*values) else jnp


def ints(value: Value) -> tuple[int, ...]:
    """Whole numbers that a shape depends on."""
    if not known(value):
        raise Untranslatable("a shape or an index depends on the pixels or on weights")
    return tuple(int(v) for v in np.asarray(value).ravel())


def sized(shape: Iterable[int]) -> tuple[int, ...]:
    """The shape of a known value, unless that would be too large to be one."""
    shape = tuple(shape)
    if math.prod(shape) > KNOWN or any(side < 0 for side in shape):
        raise Untranslatable(f"a constant of shape {list(shape)} is asked for")
    return shape


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; negative ones count from the back."""
    if not -rank <= axis < rank:
        raise Untranslatable(f"axis {axis} of {rank} is asked for")
    return axis % rank
