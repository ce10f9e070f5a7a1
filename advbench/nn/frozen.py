"""Networks as attacks and the judge see them: pure functions of images, in evaluation mode."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


@dataclass(frozen=True)
class _Apply:
    """Rebuild the network from its leaves and call it; hashable, so it is a cheap static part of a jit key."""

    graph: Any
    tree: Any

    def __call__(self, *leaves_and_images: jax.Array) -> jax.Array:
        *leaves, images = leaves_and_images
        logits: jax.Array = nnx.merge(self.graph, jax.tree.unflatten(self.tree, leaves))(images)
        return logits


def freeze(module: nnx.Module) -> Callable[[jax.Array], jax.Array]:
    """Freeze the network in its current state, with dropout off and batch statistics fixed.

    Parameters
    ----------
    module : nnx.Module
        Any Flax NNX module from images `[B, H, W, C]` to logits `[B, K]`; it is not changed, and later updates to it do
        not reach the result.

    Returns
    -------
    jax.tree_util.Partial
        A pytree of the network's arrays, callable on images `[B, H, W, C]`; pass it to jitted functions as an argument.
    """
    graph, state = nnx.split(evaluating(module))
    leaves, tree = jax.tree.flatten(state)
    return jax.tree_util.Partial(_Apply(graph, tree), *leaves)


def evaluating(module: nnx.Module) -> nnx.Module:
    """Return the network in evaluation mode, sharing its arrays with the one given.

    Parameters
    ----------
    module : nnx.Module
        Any Flax NNX module.

    Returns
    -------
    nnx.Module
        View of the module.
    """
    view: nnx.Module = nnx.view(module, deterministic=True, use_running_average=True, raise_if_not_found=False)
    return view


@dataclass(frozen=True)
class _Coarse:
    """Function of another network, called on bfloat16."""

    apply: Callable[..., jax.Array]

    def __call__(self, *leaves_and_images: jax.Array) -> jax.Array:
        return self.apply(*map(_half, leaves_and_images)).astype(leaves_and_images[-1].dtype)


def coarse(model: jax.tree_util.Partial) -> jax.tree_util.Partial:
    """Compute a frozen network in bfloat16: at least twice as fast where a device has units for it, in half the memory.

    Images and logits stay float32. Good enough for adversarial training examples, not for evaluation.

    Parameters
    ----------
    model : jax.tree_util.Partial
        Network from `freeze`.

    Returns
    -------
    jax.tree_util.Partial
        The same network in bfloat16.
    """
    return jax.tree_util.Partial(_Coarse(model.func), *model.args)


def _half(array: jax.Array) -> jax.Array:
    return array.astype(jnp.bfloat16) if array.dtype == jnp.float32 else array
