"""One training step, as one compiled function of the state."""

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
from advbench.defenses.base import Defense, StepInputs
from advbench.defenses.mix import leading, shares
from advbench.defenses.recipe import Recipe


class StepState(NamedTuple):
    """State of training that a step changes, all on the device."""

    state: Any  # nnx.State: weights, batch statistics, dropout keys
    opt: optax.OptState
    ema: Any  # average of the state (EMA, SWA, or the state itself): what is validated and released
    memory: Any = ()  # what the defense carries from step to step


@partial(jax.jit, static_argnames="recipe")
def begin(state: Any, recipe: Recipe, memory: Any = ()) -> StepState:
    """Begin training from a network's state.

    Parameters
    ----------
    state : Any
        Weights and other state of the network.
    recipe : Recipe
        Settings of the training loop.
    memory : Any, default ()
        Initial memory of the defense.

    Returns
    -------
    StepState
        State before the first step.
    """
    opt = recipe.transform().init(nnx.split_state(state, nnx.Param, ...)[0])
    return StepState(copied(state), opt, copied(state), memory)


@partial(jax.jit, static_argnames=("graph", "recipe", "classes", "per_epoch"), donate_argnames="now")
def update(
    now: StepState,
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
) -> tuple[StepState, dict[str, Array]]:
    """Take one descent step.

    Parameters
    ----------
    now : StepState
        State of training; its buffers are donated.
    defense : Defense
        Training objective with its settings.
    threat : Threat
        Norm ball of the adversarial training examples.
    x, x_adv : Array
        Clean images and adversarial training examples.
    y : Array
        Labels int32 `[B]`, or shares of classes `[B, K]`.
    step : Array or int
        Number of the step, from 0.
    slower : Array or float
        Factor on the learning rate.
    weights : Array, optional
        Weight of each class in the loss, float32 `[K]`; None: all images count alike.
    graph : Any
        The network's `nnx.GraphDef`, in training mode.
    recipe : Recipe
        Settings of the training loop.
    classes : int
        Number of classes K.
    per_epoch : int
        Steps in an epoch.

    Returns
    -------
    tuple[StepState, dict[str, Array]]
        The next state; loss, accuracy on `x_adv`, norm of the gradient and learning rate, scalars.
    """
    params, rest = nnx.split_state(now.state, nnx.Param, ...)
    target = optax.smooth_labels(shares(y, classes), recipe.label_smoothing)
    counts = None if weights is None else shares(y, classes) @ weights

    def cost(params: Any, x_adv: Array) -> tuple[Array, tuple[Array, Any]]:
        model = nnx.merge(graph, params, rest, copy=True)
        losses, logits = defense.loss(model, x, x_adv, target)
        return balance.mean(losses, counts), (logits, nnx.state(model, nnx.Not(nnx.Param)))

    here = StepInputs(x, x_adv, threat, step / per_epoch, now.memory)
    (loss, (logits, rest)), input_gradient, memory = defense.gradient(cost, params, here)
    direction, opt = recipe.transform().update(input_gradient, now.opt, params)
    lr = recipe.lr_at(step, per_epoch) * slower
    state = nnx.merge_state(jax.tree.map(lambda p, d: p - lr * d, params, direction), rest)
    seen = {
        "loss": loss,
        "accuracy": (logits.argmax(-1) == leading(y)).mean(),
        "input_gradient": optax.tree.norm(input_gradient),
        "lr": lr,
    }
    return StepState(state, opt, average(now.ema, state, recipe.keep_at(step, per_epoch)), memory), seen


def average(old: Any, new: Any, keep: Array) -> Any:
    """Average floats, keeping this share of the old ones; other leaves are replaced.

    Parameters
    ----------
    old, new : Any
        Pytrees of one structure.
    keep : Array
        Share of the old values, in [0, 1].

    Returns
    -------
    Any
        Pytree of the same structure.
    """

    def blend(old: Array, new: Array) -> Array:
        return keep * old + (1 - keep) * new if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(blend, old, new)


@jax.jit
def copied(tree: Any) -> Any:
    """Copy all arrays into new buffers, which a step may take over.

    Parameters
    ----------
    tree : Any
        Pytree of arrays.

    Returns
    -------
    Any
        Pytree of the same structure.
    """
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def finite(tree: Any) -> Array:
    """Tell whether every float of the tree is finite.

    Parameters
    ----------
    tree : Any
        Pytree of arrays.

    Returns
    -------
    Array
        bool scalar.
    """
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in floats]))
