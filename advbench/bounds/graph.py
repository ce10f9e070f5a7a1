"""A model as a graph of affine maps, maxima and smooth functions, read from its jaxpr: no layer need be declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from advbench.bounds.primitives import SMOOTH
from advbench.core.model import Model
from advbench.core.plain import plainly


class Unsupported(ValueError):
    """The model contains operations without known bounds; the message names all of them."""


@dataclass(frozen=True)
class Ref:
    """A value that depends on the image: the output of a node.

    Parameters
    ----------
    at : int
        Index of the node.
    """

    at: int


@dataclass(frozen=True)
class Const:
    """A value that does not depend on the image.

    Parameters
    ----------
    at : int
        Index in the constants of the graph.
    """

    at: int


Operand = Ref | Const


@dataclass(frozen=True)
class Node:
    """One operation.

    Parameters
    ----------
    name : str
        Name of the primitive.
    operands : tuple[Operand, ...]
        Inputs, in the order of `run`.
    shape : tuple[int, ...]
        Shape of the output.
    run : Callable[..., Array]
        Operands to the output.
    least : Const, optional
        For a maximum, a lower bound that holds whatever the intervals of its operands are.
    rough : bool
        Intervals are used for this node even where linear bounds would be tighter, since those cost too much.
    """

    name: str
    operands: tuple[Operand, ...]
    shape: tuple[int, ...]
    run: Callable[..., Array]
    least: Const | None = None
    rough: bool = False

    def run_on(self, operands: Sequence[Any]) -> Callable[[Any], Any]:
        """Return the output as a function of the operand that varies, from the operands that the reader has.

        Parameters
        ----------
        operands : Sequence[Any]
            Arrays, and a `Ref` for each varying operand.

        Returns
        -------
        Callable[[Any], Any]
            Function of the varying operand.
        """

        def call(value: Any) -> Any:
            return self.run(*(value if isinstance(operand, Ref) else operand for operand in operands))

        return call

    @property
    def curved(self) -> bool:
        """True if the node is not affine, and must be relaxed."""
        return self.name == "max" or self.name in SMOOTH

    @property
    def parents(self) -> tuple[int, ...]:
        """Numbers of the nodes that it reads."""
        return tuple(operand.at for operand in self.operands if isinstance(operand, Ref))


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of computation, the first being the image `[1, H, W, C]`, the last the logits `[1, K]`.

    Only the constants (weights, and values computed from them alone) are arrays: they may be passed through `jax.jit`
    and put back by `given`.

    Parameters
    ----------
    nodes : tuple[Node, ...]
        Operations.
    constants : tuple[Array, ...]
        Values of every `Const`.
    """

    nodes: tuple[Node, ...]
    constants: tuple[Array, ...]

    def given(self, constants: Sequence[Array]) -> Graph:
        """Return the same graph with other constants.

        Parameters
        ----------
        constants : Sequence[Array]
            As many as the graph has, in its order.

        Returns
        -------
        Graph
            The graph.
        """
        return replace(self, constants=tuple(constants))

    def constant(self, operand: Const, dtype: Any) -> Array:
        """Return a constant, floats in the type of the bounds.

        Parameters
        ----------
        operand : Const
            Reference to the constant.
        dtype : Any
            Type of the bounds.

        Returns
        -------
        Array
            Array of any shape.
        """
        value = jnp.asarray(self.constants[operand.at])
        return value.astype(dtype) if jnp.issubdtype(value.dtype, jnp.floating) else value

    def function(self, node: Node, dtype: Any, *, absolute: bool = False) -> Callable[..., Array]:
        """Return a node as a function of its varying operands.

        Parameters
        ----------
        node : Node
            Node of this graph.
        dtype : Any
            Type of the bounds.
        absolute : bool, default False
            Take absolute values of the constants.

        Returns
        -------
        Callable[..., Array]
            Function of the varying operands, in order.
        """
        fixed = [self.constant(o, dtype) if isinstance(o, Const) else None for o in node.operands]
        if absolute:
            fixed = [value if value is None else jnp.abs(value) for value in fixed]

        def call(*varying: Array) -> Array:
            rest = iter(varying)
            return node.run(*(next(rest) if value is None else value for value in fixed))

        return call

    def refined(self, *, boxed: bool) -> tuple[int, ...]:
        """Find curved nodes for which linear bounds say more than intervals do.

        Parameters
        ----------
        boxed : bool
            Whether the ball is a box, so that intervals are exact up to the first curved nodes.

        Returns
        -------
        tuple of int
            Indices of the nodes.
        """
        bent: list[bool] = []
        found = []
        for at, node in enumerate(self.nodes):
            above = any(bent[parent] for parent in node.parents)
            bent.append(above or node.curved)
            if node.curved and not node.rough and (above or not boxed):
                found.append(at)
        return tuple(found)


def read(model: Model, shape: Sequence[int]) -> Graph:
    """Trace a model for one image and convert its jaxpr to a graph.

    Parameters
    ----------
    model : Model
        Images `[B, H, W, C]` float32 to logits `[B, K]`, in evaluation mode.
    shape : Sequence[int]
        Shape of one image, (H, W, C).

    Returns
    -------
    Graph
        The graph.

    Raises
    ------
    Unsupported
        With the names of all operations that are neither an affine map, nor a maximum, nor a known smooth function of
        the image.
    """
    from advbench.bounds.reader import Reader

    with plainly():
        program = jax.make_jaxpr(model)(jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    reader = Reader()
    (logits,) = reader.run(program.jaxpr, program.consts, [reader.image((1, *shape))])
    if reader.strange:
        names = ", ".join(sorted(reader.strange))
        raise Unsupported(f"no bounds are known for what this model does to its images: {names}")
    if not isinstance(logits, Ref):
        raise Unsupported("the logits do not depend on the image")
    return Graph(tuple(reader.nodes[: logits.at + 1]), tuple(reader.constants))
