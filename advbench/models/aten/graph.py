"""A graph of ATen operators as plain Python, run on JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core.errors import UsageError
from advbench.models.aten.operators import OPERATORS


@dataclass(frozen=True)
class Ref:
    """Output of an earlier step.

    Parameters
    ----------
    name : str
        Name of the step.
    """

    name: str


@dataclass(frozen=True, eq=False)
class Step:
    """One operator of the graph.

    Parameters
    ----------
    name : str
        Name of its output.
    target : str
        Its name in `OPERATORS`.
    args : tuple[Any, ...]
        Positional arguments; a `Ref` for an output of another step.
    kwargs : dict[str, Any]
        Arguments by name, likewise.
    """

    name: str
    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Program:
    """`program(weights, images)` gives the outputs; what is no weight is part of the program.

    Attributes
    ----------
    steps : tuple of Step
        Those that are needed, in order.
    constants : dict
        Arrays that are no weights, like indices.
    images : str
        Name of the images.
    results : tuple
        Values that are given, as `Ref` or constants.
    form : callable
        Puts them into the module's containers.
    alone : bool
        The steps are for one image at a time; all outputs have leading axis B.
    """

    steps: tuple[Step, ...]
    constants: dict[str, np.ndarray]
    images: str
    results: tuple[Any, ...]
    form: Callable[[list[Any]], Any]
    alone: bool = False

    def __call__(self, weights: dict[str, Array], x: Array) -> Any:
        """Run on images `[B, ...]`, float32.

        Raises
        ------
        UsageError
            Naming the operator that can't be run on values of these shapes.
        """
        if self.alone:
            outputs = jax.vmap(self._run, (None, 0))(weights, jnp.asarray(x)[:, None])
            return jax.tree.map(lambda y: y[:, 0], outputs)
        return self._run(weights, jnp.asarray(x))

    def _run(self, weights: dict[str, Array], x: Array) -> Any:
        values: dict[str, Any] = {**self.constants, **weights, self.images: x}
        for step in self.steps:
            args, kwargs = _filled(step.args, values), _filled(step.kwargs, values)
            try:
                values[step.name] = OPERATORS[step.target](*args, **kwargs)
            except Exception as error:  # whatever JAX may say of shapes and types that don't fit
                said = " ".join(str(error).split())[:200]
                raise UsageError(f"{step.target} can't be run: {type(error).__name__}: {said}") from error
        return self.form([_filled(result, values) for result in self.results])


def _filled(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, dict):
        return {key: _filled(part, values) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_filled(part, values) for part in value]
    return value
