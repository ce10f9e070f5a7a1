"""Interval bound propagation (Gowal et al. 2018, arXiv 1810.12715): the lowest and highest value of every neuron."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from advbench.bounds.graph import (
    Const,
    Graph,
    Node,
    Operand,
)
from advbench.bounds.primitives import INDEXED, SIGNED, STRUCTURAL


class Interval(NamedTuple):
    """Elementwise bounds of a tensor over the ball.

    Parameters
    ----------
    low : Array
        Lower bounds.
    high : Array
        Upper bounds, of the same shape.
    """

    low: Array
    high: Array


def propagate(graph: Graph, box: Interval) -> list[Interval]:
    """Bound the value of every node, for images in a box.

    Parameters
    ----------
    graph : Graph
        Computation of the model for one image.
    box : Interval
        Lowest and highest pixels, `[1, H, W, C]` each; their type is the type of all bounds.

    Returns
    -------
    list[Interval]
        In the order of the nodes, each of its node's shape.
    """
    found = [box]
    for node in graph.nodes[1:]:
        found.append(through(graph, node, found, box.low.dtype))
    return found


def of_operand(graph: Graph, operand: Operand, bounds: list[Interval], like: Array) -> Interval:
    """Return the interval of one operand; that of a constant is the constant itself, broadcast to `like`.

    Parameters
    ----------
    graph : Graph
        Computation of the model for one image.
    operand : Operand
        Node or constant.
    bounds : list[Interval]
        Interval of every node.
    like : Array
        Array whose shape and type are used.

    Returns
    -------
    Interval
        Lower and upper bounds.
    """
    if isinstance(operand, Const):
        value = jnp.broadcast_to(graph.constant(operand, like.dtype), like.shape)
        return Interval(value, value)
    return bounds[operand.at]


def through(graph: Graph, node: Node, bounds: list[Interval], dtype: jnp.dtype) -> Interval:
    """Bound the value of one node by those of its operands.

    Parameters
    ----------
    graph : Graph
        Computation of the model for one image.
    node : Node
        Node to bound.
    bounds : list[Interval]
        Interval of every earlier node.
    dtype : jnp.dtype
        Type of the computation.

    Returns
    -------
    Interval
        Lower and upper bounds.
    """
    parents = [bounds[at] for at in node.parents]
    run = graph.function(node, dtype)
    if node.curved or node.name in STRUCTURAL | INDEXED:  # all of these are increasing in every operand
        low, high = run(*(b.low for b in parents)), run(*(b.high for b in parents))
        return Interval(low if node.least is None else jnp.maximum(low, graph.constant(node.least, dtype)), high)
    middle = run(*((b.low + b.high) / 2 for b in parents))
    radii = [(b.high - b.low) / 2 for b in parents]
    spread = sum(radii[1:], radii[0]) if node.name in SIGNED else graph.function(node, dtype, absolute=True)(*radii)
    return Interval(middle - spread, middle + spread)
