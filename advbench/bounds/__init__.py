"""Bounds of a network's outputs over a ball: sound, for any feed-forward model that JAX can trace."""

from __future__ import annotations

from typing import Final, Literal

import jax
import jax.numpy as jnp
from jax import Array

from advbench.bounds.graph import Const, Graph, Unsupported, read
from advbench.bounds.interval import Interval, of_operand, propagate, through
from advbench.bounds.linear import lower, tightened
from advbench.core.threat import Threat

__all__ = ["Graph", "Method", "Unsupported", "margins", "read"]

Method = Literal["ibp", "crown-ibp", "crown"]
"""Bounding methods, from the fastest and loosest to the slowest and tightest."""
COARSE: Final = 1e3  # constants from which differences are not taken back


def margins(graph: Graph, threat: Threat, x: Array, y: Array, method: Method) -> Array:
    """Bound from below by how much the label's logit exceeds each other one, over the ball around one image.

    Parameters
    ----------
    graph : Graph
        Computation of the model for one image.
    threat : Threat
        Norm, eps and the pixel box.
    x : Array
        Image, `[H, W, C]` in [0, 1]; bounds are computed in its type.
    y : Array
        Label, an integer.
    method : Method
        `ibp`: intervals, the last affine layers folded into the difference of logits (Gowal et al. 2018, arXiv
        1810.12715). `crown-ibp`: one linear bound from the logits back to the image, over intervals (Zhang et al. 2020,
        arXiv 1906.06316). `crown`: every neuron's interval comes from such a bound as well (Zhang et al. 2018, arXiv
        1811.00866).

    Returns
    -------
    Array
        `[K]`; 0 for the label itself. If all others are positive, no image in the ball is misclassified.

    Examples
    --------
    A linear model of two classes, which compares the mean of an image with 0.5:

    >>> import jax.numpy as jnp
    >>> from advbench.core.norms import NORMS
    >>> from advbench.core.threat import Threat
    >>> def model(x):
    ...     mean = x.mean((1, 2, 3))
    ...     return jnp.stack([0.5 - mean, mean - 0.5], -1)
    >>> graph = read(model, (6, 6, 1))
    >>> found = margins(graph, Threat(NORMS["linf"], 0.05), jnp.full((6, 6, 1), 0.4), 0, "ibp")
    >>> round(float(found[1]), 4)
    0.1
    """
    x = x[None]
    classes = graph.nodes[-1].shape[-1]
    wanted = {
        len(graph.nodes) - 1: (jax.nn.one_hot(y, classes, dtype=x.dtype) - jnp.eye(classes, dtype=x.dtype))[:, None]
    }
    box = Interval(*threat.pixel_bounds(x))
    if method == "ibp":
        return lower(graph, wanted, propagate(graph, box), None, threat, x)
    refined = graph.refined(boxed=threat.norm.name in ("linf", "any")) if method == "crown" else ()
    bounds, inputs = [box], dict[int, Interval]()
    for at, node in enumerate(graph.nodes[1:], 1):
        bounds.append(through(graph, node, bounds, x.dtype))
        if not node.curved:
            continue
        inputs[at] = _bent_over(graph, at, bounds)
        if at in refined:
            inputs[at] = tightened(graph, at, bounds, inputs, threat, x)
            bounds[at] = _value(graph, at, bounds, inputs[at])
    return lower(graph, wanted, bounds, inputs, threat, x)


def _bent_over(graph: Graph, at: int, bounds: list[Interval]) -> Interval:
    """Bound the argument of a curved node by intervals alone: a - b for max(a, b), and x for f(x)."""
    first, *second = _operands(graph, at, bounds)
    for other in second:
        return Interval(first.low - other.high, first.high - other.low)
    return first


def _value(graph: Graph, at: int, bounds: list[Interval], over: Interval) -> Interval:
    """A curved node's value, where it is known what it is bent over; never wider than before.

    Of the maximum of two values that both vary nothing more is known, and none is known of one with a constant so large
    that differences from it are coarse.
    """
    node, before = graph.nodes[at], bounds[at]
    if len(node.operands) == 1:
        low, high = node.run(over.low), node.run(over.high)
    else:
        first, second = node.operands
        if isinstance(first, Const):
            fixed, low, high = first, -over.high, -over.low
        elif isinstance(second, Const):
            fixed, low, high = second, *over
        else:
            return before
        c = jnp.broadcast_to(graph.constant(fixed, low.dtype), low.shape)
        fine = jnp.abs(c) < COARSE
        low, high = (
            jnp.where(fine, jnp.maximum(c + end, c), kept) for end, kept in zip((low, high), before, strict=True)
        )
    return Interval(jnp.maximum(before.low, low), jnp.minimum(before.high, high))


def _operands(graph: Graph, at: int, bounds: list[Interval]) -> list[Interval]:
    """Bound the operands of a curved node."""
    return [of_operand(graph, operand, bounds, bounds[at].low) for operand in graph.nodes[at].operands]
