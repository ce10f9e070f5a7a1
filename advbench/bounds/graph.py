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
    """The model computes something that can't be bounded; the message names every such operation."""


@dataclass(frozen=True)
class Ref:
    """A value that varies with the image: what node number `at` computes."""

    at: int


@dataclass(frozen=True)
class Const:
    """A value that does not: number `at` of the graph's constants."""

    at: int


Operand = Ref | Const


@dataclass(frozen=True)
class Node:
    """One operation. `run` takes its operands, in order, and returns its value of `shape`.

    `least`, a constant, is what a maximum is never below, whatever the intervals of its operands say. `rough` marks one
    of the many maxima of a large window, whose operands are bounded by intervals alone.
    """

    name: str
    operands: tuple[Operand, ...]
    shape: tuple[int, ...]
    run: Callable[..., Array]
    least: Const | None = None
    rough: bool = False

    def run_on(self, operands: Sequence[Any]) -> Callable[[Any], Any]:
        """Its value as a function of the one operand that varies, from the operands that the reader has."""

        def call(value: Any) -> Any:
            return self.run(*(value if isinstance(operand, Ref) else operand for operand in operands))

        return call

    @property
    def curved(self) -> bool:
        """Whether it is no affine map, and must be relaxed."""
        return self.name == "max" or self.name in SMOOTH

    @property
    def parents(self) -> tuple[int, ...]:
        """Nodes that it reads."""
        return tuple(operand.at for operand in self.operands if isinstance(operand, Ref))


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of computation, the first being the image `[1, H, W, C]`, the last the logits `[1, K]`.

    Only the constants (weights, and what follows from them alone) are arrays: they may be passed through `jax.jit` and
    put back by `given`.
    """

    nodes: tuple[Node, ...]
    constants: tuple[Array, ...]

    def given(self, constants: Sequence[Array]) -> Graph:
        """The same graph with other constants."""
        return replace(self, constants=tuple(constants))

    def constant(self, operand: Const, dtype: Any) -> Array:
        """A constant, floats in the type that bounds are computed in."""
        value = jnp.asarray(self.constants[operand.at])
        return value.astype(dtype) if jnp.issubdtype(value.dtype, jnp.floating) else value

    def function(self, node: Node, dtype: Any, *, absolute: bool = False) -> Callable[..., Array]:
        """A node as a function of its varying operands; `absolute` takes constants without their sign."""
        fixed = [self.constant(o, dtype) if isinstance(o, Const) else None for o in node.operands]
        if absolute:
            fixed = [value if value is None else jnp.abs(value) for value in fixed]

        def call(*varying: Array) -> Array:
            rest = iter(varying)
            return node.run(*(next(rest) if value is None else value for value in fixed))

        return call

    def refined(self, *, boxed: bool) -> tuple[int, ...]:
        """Curved nodes of which linear bounds say more than intervals do.

        Parameters
        ----------
        boxed : bool
            Whether the ball is a box, so that intervals are exact up to the first curved nodes.
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
    """Trace a model for one image, and make a graph of what it does.

    Parameters
    ----------
    model : images `[B, H, W, C]` float32 -> logits `[B, K]`, in evaluation mode.
    shape : of an image, (H, W, C).

    Raises
    ------
    Unsupported
        With the names of all operations that are no affine map, maximum or known smooth function of the image.
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
