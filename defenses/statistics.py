"""Batch statistics of averaged weights: their own, for those of the weights averaged belong to other networks.

Izmailov et al. 2018, arXiv 1803.05407.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax import Array

from advbench.defenses.base import Defense
from advbench.defenses.mix import shares

BATCHES = 20  # enough for means over thousands of images


def restated(state: Any, graph: Any, defense: Defense, classes: int, batches: Iterable[tuple[Array, ...]]) -> Any:
    """Estimate the batch statistics of a network anew, as means over batches.

    Parameters
    ----------
    state, graph : the network, in training mode.
    batches : clean images, crafted images, and labels `[B]` or shares of classes `[B, K]`; what the loss shows to the
        network last is what counts.

    Returns
    -------
    nnx.State
        The state with new statistics; where the network keeps none, the state as it is, and no batch is asked for.
    """
    stats, rest = nnx.split_state(state, nnx.BatchStat, ...)
    if not jax.tree.leaves(stats):
        return state
    found = [_statistics(state, defense, *batch, graph=graph, classes=classes) for batch in batches]
    return nnx.merge_state(rest, jax.tree.map(lambda *parts: sum(parts) / len(parts), *found))


@partial(jax.jit, static_argnames=("graph", "classes"))
def _statistics(state: Any, defense: Defense, x: Array, x_adv: Array, y: Array, *, graph: Any, classes: int) -> Any:
    model = nnx.merge(graph, state, copy=True)
    for _, part in nnx.iter_modules(model):
        if isinstance(part, nnx.BatchNorm):
            part.momentum = 0.0  # forget the statistics that were there
    defense.loss(model, x, x_adv, shares(y, classes))
    return nnx.state(model, nnx.BatchStat)
