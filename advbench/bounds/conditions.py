"""Conditions in a jaxpr: comparisons that a choice may read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jax.core import Tracer

from advbench.bounds.graph import (
    Ref,
)


class Greater(NamedTuple):
    """Condition `a > b` (or `>=`, or a NaN), which only a choice may read."""

    a: Any
    b: Any


class NotANumber(NamedTuple):
    """Condition that `a` is NaN; bounds concern finite values only."""

    a: Any


class Unknown(NamedTuple):
    """Output of an operation without bounds."""


VARYING = (Ref, Greater, NotANumber, Unknown)


def condition_of(name: str, operands: list[Any]) -> Greater | NotANumber | None:
    """Represent comparisons by their operands.

    Parameters
    ----------
    name : str
        Primitive of JAX.
    operands : list[Any]
        Its operands.

    Returns
    -------
    Greater or NotANumber or None
        The condition; None if the operation is no comparison that a choice may read.
    """
    if name in ("gt", "ge"):
        return Greater(*operands)
    if name in ("lt", "le"):
        return Greater(*operands[::-1])
    if name == "not" and isinstance(operands[0], Greater):
        return Greater(*operands[0][::-1])
    if name == "ne" and same(*operands):
        return NotANumber(operands[0])
    if name == "or":
        greater = [o for o in operands if isinstance(o, Greater)]
        if len(greater) == 1 and all(isinstance(o, (Greater, NotANumber)) for o in operands):
            return greater[0]
    return None


def same(a: Any, b: Any) -> bool:
    """Return whether two values are known to be equal.

    Parameters
    ----------
    a, b : Any
        Arrays, or values that vary with the image.

    Returns
    -------
    bool
        False where it is not known.
    """
    if isinstance(a, VARYING) or isinstance(b, VARYING):
        return isinstance(a, Ref) and isinstance(b, Ref) and a == b
    if isinstance(a, Tracer) or isinstance(b, Tracer):
        return a is b
    return bool(np.all(np.asarray(a) == np.asarray(b)))
