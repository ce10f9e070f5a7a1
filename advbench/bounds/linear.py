"""CROWN (Zhang et al. 2018, arXiv 1811.00866): bounds by linear functions, propagated from the logits to the image."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import jax
import jax.numpy as jnp
from jax import Array

from advbench.bounds.graph import (
    Const,
    Graph,
    Node,
    Operand,
)
from advbench.bounds.interval import Interval
from advbench.core.norms import TINY
from advbench.core.threat import Threat

Coefficients = dict[int, Array]
"""Coefficients of each node's value, `[S, *shape]`, for S linear functions at once."""
Inputs = Mapping[int, Interval]
"""Interval of the argument of each curved node: a - b for max(a, b), and x for f(x)."""


def lower(
    graph: Graph,
    wanted: Coefficients,
    bounds: list[Interval],
    inputs: Inputs | None,
    threat: Threat,
    x: Array,
) -> Array:
    """Bound S linear functions of some nodes' values from below, over the ball around `x`.

    Parameters
    ----------
    graph : Graph
        Computation of the model for one image.
    wanted : Coefficients
        Coefficients of the nodes that the functions depend on.
    bounds : list[Interval]
        Interval of every node.
    inputs : Inputs or None
        Interval of the argument of each curved node. None: go back to the last curved nodes only, and take their
        intervals, which is interval bound propagation with the layers after them folded into one.
    threat : Threat
        Norm, eps and the pixel box.
    x : Array
        Image, `[1, H, W, C]`.

    Returns
    -------
    Array
        `[S]`.
    """
    left = dict(wanted)
    total = jnp.zeros(len(next(iter(left.values()))), x.dtype)
    while left:
        at = max(left)
        a, node = left.pop(at), graph.nodes[at]
        if not node.operands:
            return total + _least(a, threat, x)
        if not node.curved:
            bias, pulled = _affine(graph, node, a, bounds)
        elif inputs is None:
            bias, pulled = _summed(jnp.where(a > 0, a * bounds[at].low, a * bounds[at].high)), []
        elif node.name == "max":
            bias, pulled = _maximum(graph, node, a, inputs[at])
        else:
            bias, pulled = _smooth(node, a, inputs[at])
        total = total + bias
        for parent, share in pulled:
            left[parent] = left[parent] + share if parent in left else share
    return total


Step = tuple[Array, list[tuple[int, Array]]]
"""Increment of the bounds, `[S]`, and of each parent's coefficients."""


def _affine(graph: Graph, node: Node, a: Array, bounds: list[Interval]) -> Step:
    """Compose with an affine map: its transpose propagates the coefficients."""
    zeros = [jnp.zeros_like(bounds[at].low) for at in node.parents]
    offset, pull = jax.vjp(graph.function(node, a.dtype), *zeros)
    return _summed(a * offset), list(zip(node.parents, jax.vmap(pull)(a), strict=True))


def _maximum(graph: Graph, node: Node, a: Array, gap: Interval) -> Step:
    """Relax max(p, q) = q + relu(p - q), where p - q lies in `gap`: a line above, and one below of slope 0 or 1."""
    low, high = jnp.minimum(gap.low, 0), jnp.maximum(gap.high, 0)
    steep = high / jnp.maximum(high - low, TINY)
    flat = (high > -low).astype(a.dtype)  # the choice with the smaller area between the lines
    slope = jnp.where(a > 0, flat, steep)
    bias = _summed(jnp.where(a > 0, 0, -a * steep * low))
    pulled = []
    for operand, share in zip(node.operands, (a * slope, a * (1 - slope)), strict=True):
        if isinstance(operand, Const):
            bias = bias + _summed(share * graph.constant(operand, a.dtype))
        else:
            pulled.append((operand.at, share))
    return bias, pulled


def _smooth(node: Node, a: Array, over: Interval) -> Step:
    """Relax by two parallel lines through the ends, of the least slope in between, which is reached at one of them."""
    (parent,) = node.parents
    slope_of = jax.vmap(jax.grad(lambda v: node.run(v).sum()))
    ends = [slope_of(end.ravel()).reshape(end.shape) for end in over]
    slope = jnp.minimum(*ends)
    low, high = node.run(over.low) - slope * over.low, node.run(over.high) - slope * over.high
    return _summed(a * jnp.where(a > 0, low, high)), [(parent, a * slope)]


def _least(a: Array, threat: Threat, x: Array) -> Array:
    """Minimise linear functions over ball and pixel box: exactly in Linf and L0, by the dual norm else."""
    low, high = threat.pixel_bounds(x)
    in_box = _summed(jnp.where(a > 0, a * low, a * high))
    here = _summed(a * x)
    if threat.norm.name == "l2":
        return jnp.maximum(in_box, here - threat.eps * jnp.sqrt(_summed(jnp.square(a)) + TINY))
    if threat.norm.name == "l1":
        return jnp.maximum(in_box, here - threat.eps * jnp.abs(a).reshape(len(a), -1).max(-1))
    if threat.norm.name == "l0":
        drops = (a * x - jnp.where(a > 0, a * low, a * high)).reshape(len(a), -1)
        worst = jnp.sort(drops, axis=-1)[:, ::-1]
        return here - jnp.where(jnp.arange(worst.shape[-1]) < jnp.floor(threat.eps), worst, 0).sum(-1)
    return in_box


def _summed(terms: Array) -> Array:
    return terms.reshape(len(terms), -1).sum(-1)


def _identity(operands: tuple[Operand, ...], shape: tuple[int, ...], x: Array) -> Coefficients:
    """Return coefficients `[n, *shape]` of n differences of two operands, or of the one; constants drop out."""
    count = prod(shape)
    ones = jax.lax.optimization_barrier(jnp.eye(count, dtype=x.dtype).reshape(count, *shape))
    found: Coefficients = {}
    for operand, sign in zip(operands, (1, -1), strict=False):
        if not isinstance(operand, Const):
            found[operand.at] = found[operand.at] + sign * ones if operand.at in found else sign * ones
    return found


def tightened(graph: Graph, at: int, bounds: list[Interval], inputs: Inputs, threat: Threat, x: Array) -> Interval:
    """Bound the argument of curved node `at` by linear functions too, and keep the tighter bounds.

    Parameters
    ----------
    graph : Graph
        Computation of the model for one image.
    at : int
        Number of the node.
    bounds : list[Interval]
        Interval of every node.
    inputs : Inputs
        Interval of the argument of each curved node.
    threat : Threat
        Norm, eps and the pixel box.
    x : Array
        Image, `[1, H, W, C]`.

    Returns
    -------
    Interval
        Interval of the argument.
    """
    node, first = graph.nodes[at], inputs[at]
    both = {place: jnp.concatenate([a, -a]) for place, a in _identity(node.operands, node.shape, x).items()}
    low, high = lower(graph, both, bounds, inputs, threat, x).reshape(2, *node.shape)
    offset = _constant_part(graph, node, first.low)
    return Interval(jnp.maximum(first.low, low + offset), jnp.minimum(first.high, offset - high))


def _constant_part(graph: Graph, node: Node, like: Array) -> Array:
    """Return the contribution of constants to the difference of two operands."""
    total = jnp.zeros_like(like)
    for operand, sign in zip(node.operands, (1, -1), strict=False):
        if isinstance(operand, Const):
            total = total + sign * graph.constant(operand, like.dtype)
    return total
