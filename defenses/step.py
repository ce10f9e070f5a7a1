"""One step of training, as one compiled function of what it changes."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from advbench.core.threat import Threat
from advbench.defenses import balance
from advbench.defenses.base import Defense, Here
from advbench.defenses.mix import leading, shares
from advbench.defenses.recipe import Recipe


class Progress(NamedTuple):
    """What a step changes, all on the device."""

    state: Any  # nnx.State: weights, batch statistics, dropout keys
    opt: optax.OptState
    ema: Any  # average of the state (EMA, SWA, or the state itself): what is validated and released
    memory: Any = ()  # what the defense carries from step to step


def begin(state: Any, recipe: Recipe, memory: Any = ()) -> Progress:
    """Start from a network's state and what the defense remembers at first."""
    opt = recipe.transform().init(nnx.split_state(state, nnx.Param, ...)[0])
    return Progress(copied(state), opt, copied(state), memory)


@partial(jax.jit, static_argnames=("graph", "recipe", "classes", "per_epoch"), donate_argnames="now")
def update(
    now: Progress,
    defense: Defense,
    threat: Threat,
    x: Array,
    x_adv: Array,
    y: Array,
    step: Array | int,
    slower: Array | float,
    weights: Array | None = None,
    *,
    graph: Any,
    recipe: Recipe,
    classes: int,
    per_epoch: int,
) -> tuple[Progress, dict[str, Array]]:
    """Descend once.

    Parameters
    ----------
    now : given away: its buffers are reused.
    threat : what the images were crafted for.
    x, x_adv, y : clean images, crafted images, labels int32 `[B]` or shares of classes `[B, K]`.
    step, slower : the step's number, from 0, and a factor on its learning rate.
    weights : of the classes in the loss, float32 `[K]`; None: all images count alike.
    graph : the network's `nnx.GraphDef`, in training mode.
    per_epoch : steps in an epoch.

    Returns
    -------
    Progress, dict
        The next state; loss, accuracy on `x_adv`, norm of the gradient and learning rate, scalars.
    """
    params, rest = nnx.split_state(now.state, nnx.Param, ...)
    target = optax.smooth_labels(shares(y, classes), recipe.label_smoothing)
    counts = None if weights is None else shares(y, classes) @ weights

    def cost(params: Any, x_adv: Array) -> tuple[Array, tuple[Array, Any]]:
        model = nnx.merge(graph, params, rest, copy=True)
        losses, logits = defense.loss(model, x, x_adv, target)
        return balance.mean(losses, counts), (logits, nnx.state(model, nnx.Not(nnx.Param)))

    here = Here(x, x_adv, threat, step / per_epoch, now.memory)
    (loss, (logits, rest)), slope, memory = defense.gradient(cost, params, here)
    direction, opt = recipe.transform().update(slope, now.opt, params)
    lr = recipe.lr_at(step, per_epoch) * slower
    state = nnx.merge_state(jax.tree.map(lambda p, d: p - lr * d, params, direction), rest)
    seen = {
        "loss": loss,
        "accuracy": (logits.argmax(-1) == leading(y)).mean(),
        "slope": optax.tree.norm(slope),
        "lr": lr,
    }
    return Progress(state, opt, average(now.ema, state, recipe.keep_at(step, per_epoch)), memory), seen


def average(old: Any, new: Any, keep: Array) -> Any:
    """Average of floats that keeps this share of the old ones; what is no float follows."""

    def blend(old: Array, new: Array) -> Array:
        return keep * old + (1 - keep) * new if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(blend, old, new)


def copied(tree: Any) -> Any:
    """The same arrays in buffers of their own, which a step may take."""
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def finite(tree: Any) -> Array:
    """Whether every float of the tree is finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in floats]))
