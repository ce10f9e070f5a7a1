"""Batched computation over many images, in batches of one shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from advbench.core.external import raised
from advbench.core.model import Model

Array = NDArray[Any]


def in_batches(compute: Any, model: Model, size: int, *arrays: Array) -> Any:
    """Apply `compute(model, *batch)` to all rows in batches of one size.

    Parameters
    ----------
    compute : callable
        Maps the model and a batch of each array to a pytree of arrays with leading axis `size`.
    model : Model
        The model.
    size : int
        Rows per batch; the last batch is filled up with rows from the front.
    *arrays : np.ndarray
        Arrays `[n, ...]`.

    Returns
    -------
    pytree of np.ndarray
        The outputs, with leading axis n.
    """
    n = len(arrays[0])
    rows = np.arange(-(-n // size) * size) % n
    with raised():
        parts = [compute(model, *(a[take] for a in arrays)) for take in rows.reshape(-1, size)]
        return jax.tree.map(lambda *part: np.concatenate(part)[:n], *parts)


def repeats(model: Model, x: Any) -> bool:
    """Trace a model twice and compare, which costs less than to run it uncompiled.

    Parameters
    ----------
    model : Model
        The model.
    x : Array
        Images `[B, H, W, C]`.

    Returns
    -------
    bool
        Both programs have the same operations and the same constants: the host draws no numbers for them.
    """
    # Each time another function, since JAX would return the first program for the same one.
    once, again = (list(_contents(jax.make_jaxpr(lambda model, x: model(x))(model, x))) for _ in range(2))
    return len(once) == len(again) and all(map(_same, once, again))


def _contents(program: Any) -> Iterator[Any]:
    """Yield the names of all operations of a program and the values of all constants, with those of its parts."""
    yield from getattr(program, "consts", ())
    for equation in getattr(program, "jaxpr", program).eqns:
        yield equation.primitive.name
        yield from (each.val for each in equation.invars if hasattr(each, "val"))
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda value: hasattr(value, "jaxpr")):
            if hasattr(getattr(value, "jaxpr", value), "eqns"):
                yield from _contents(value)


def _same(a: Any, b: Any) -> bool:
    return a is b or (np.shape(a) == np.shape(b) and bool(np.all(np.asarray(a == b))))
