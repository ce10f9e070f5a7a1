"""Batch statistics of averaged weights, which need their own: those stored belong to the networks averaged.

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
    """Estimate the batch statistics of a network as means over batches.

    Parameters
    ----------
    state, graph : Any
        Network in training mode.
    defense : Defense
        Training objective with its settings.
    classes : int
        Number of classes K.
    batches : Iterable[tuple[Array, ...]]
        Clean images, adversarial training examples, and labels `[B]` or shares of classes `[B, K]`; the statistics are
        those of the last forward pass of the loss.

    Returns
    -------
    nnx.State
        State with new statistics; unchanged if the network keeps none, and then no batch is drawn.
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
