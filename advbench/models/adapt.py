"""What a factory may return, and how each kind becomes a model. No framework is imported but by the user's code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
from flax import nnx

from advbench.core.errors import UsageError
from advbench.core.model import Model
from advbench.nn.frozen import freeze

NHWC: Final = ("nhwc",)


class Adapted(NamedTuple):
    """A model, the order of axes that it takes, and what is worth to be said of it."""

    predict: Model
    layouts: tuple[str, ...]
    record: dict[str, Any]


def adapt(made: Any, spec: str) -> Adapted:
    """Make a model of what a factory returned.

    Parameters
    ----------
    made : Any
        A Flax NNX module; a PyTorch module; a Keras 3 model; a pair `(module, variables)` of Flax Linen or
        `(apply, params)`; or a callable from images to logits.
    spec : str
        Who returned it, for messages.

    Raises
    ------
    UsageError
        It is none of these, or can't be evaluated as it is.
    """
    if isinstance(made, nnx.Module) and callable(made):
        return Adapted(freeze(made), NHWC, {})
    if is_torch(made):
        from advbench.models import pytorch

        predict, record = pytorch.external(made, spec)
        return Adapted(predict, ("nchw",), record)
    if is_keras(made):
        from advbench.models import keras3

        return Adapted(keras3.pure(made, spec), NHWC, keras3.record())
    if isinstance(made, tuple) and len(made) == 2 and callable(made[0]):
        return Adapted(_with_params(*made), NHWC, {})
    if not callable(made):
        kind = type(made).__name__
        raise UsageError(f"{spec} returned {kind}, which is not a model: give a callable, or (apply, params)")
    return Adapted(_alone(made) if jax.tree_util.all_leaves([made]) else made, NHWC, {})


def fill(made: Any, weights: Path, spec: str) -> None:
    """Put the weights of a file into what a factory returned.

    Raises
    ------
    UsageError
        It is neither a PyTorch nor a Keras model, or the weights are for another.
    CorruptFile
        The file can't be read.
    """
    if is_torch(made):
        from advbench.models import pytorch

        pytorch.fill(made, weights)
    elif is_keras(made):
        from advbench.models import keras3

        keras3.fill(made, weights)
    else:
        kind = type(made).__name__
        raise UsageError(f"--weights is for PyTorch and Keras models; {spec} returned {kind}: load them in the factory")


def is_torch(thing: Any) -> bool:
    """Whether it is a `torch.nn.Module`."""
    return _is(thing, "torch.nn", "Module")


def is_keras(thing: Any) -> bool:
    """Whether it is a `keras.Model`."""
    return _is(thing, "keras", "Model")


def _is(thing: Any, library: str, kind: str) -> bool:
    """Only what has been imported can have made it."""
    return library in sys.modules and isinstance(thing, getattr(sys.modules[library], kind))


def _with_params(function: Any, params: Any) -> Model:
    """`(apply, params)`, or a Linen module and its variables; wrapped, as a jit key needs a hash."""
    apply: Callable[..., jax.Array] = function.apply if _is(function, "flax.linen", "Module") else function

    def with_params(params: Any, images: jax.Array) -> jax.Array:
        return apply(params, images)

    return jax.tree_util.Partial(with_params, params)


def _alone(function: Callable[[jax.Array], jax.Array]) -> Model:
    """A callable that is no pytree, wrapped likewise."""

    def alone(images: jax.Array) -> jax.Array:
        return function(images)

    return jax.tree_util.Partial(alone)
