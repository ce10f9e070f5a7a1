"""Models from whatever a user's factory returns. Only the user's code imports frameworks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from flax import nnx

from advbench.core.errors import UsageError
from advbench.core.model import Model
from advbench.models.calls import hinted, is_made_by, refuse_alone, refuse_other, refuse_pair
from advbench.nn.frozen import freeze

NHWC: Final = ("nhwc",)


class Adapted(NamedTuple):
    """A model, the orders of axes that it may take, and facts for the record."""

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
        Name of the factory, for messages.

    Returns
    -------
    Adapted
        The model, its possible layouts, and facts for the record.

    Raises
    ------
    UsageError
        When it is none of these, or can't be evaluated as it is.
    """
    if isinstance(made, nnx.Module) and callable(made):
        refuse_alone(made, spec)
        return Adapted(freeze(made), NHWC, {})
    if is_torch(made):
        from advbench.models import pytorch

        predict, record = pytorch.external(made, spec)
        return Adapted(predict, ("nchw",), record)
    if is_keras(made):
        from advbench.models import keras3

        return Adapted(keras3.pure(made, spec), NHWC, keras3.record())
    if isinstance(made, tuple) and len(made) == 2 and callable(made[0]):
        refuse_pair(*made, spec)
        return Adapted(_with_params(*made), NHWC, {})
    if not callable(made):
        refuse_other(made, spec)
    refuse_alone(made, spec)
    is_bare = jax.tree_util.all_leaves([made]) or is_made_by(made, "equinox", "Module")  # these hold functions too
    return Adapted(_alone(made) if is_bare else made, NHWC, {})


def fill(made: Any, weights: Path, spec: str) -> None:
    """Put the weights of a file into what a factory returned.

    Parameters
    ----------
    made : Any
        A PyTorch or Keras model, changed in place.
    weights : Path
        File of weights.
    spec : str
        Name of the factory, for messages.

    Raises
    ------
    UsageError
        When it is neither a PyTorch nor a Keras model, or the weights are for another model.
    CorruptFile
        When the file can't be read.
    """
    if is_torch(made):
        from advbench.models import checkpoints

        checkpoints.fill(made, weights)
    elif is_keras(made):
        from advbench.models import keras3

        keras3.fill(made, weights)
    else:
        kind = type(made).__name__
        raise UsageError(f"--weights is for PyTorch and Keras models; {spec} returned {kind}: load them in the factory")


def is_torch(thing: Any) -> bool:
    """Return whether an object is a `torch.nn.Module`.

    Parameters
    ----------
    thing : Any
        Any object.

    Returns
    -------
    bool
        False while PyTorch is not imported.
    """
    return is_made_by(thing, "torch.nn", "Module")


def is_keras(thing: Any) -> bool:
    """Return whether an object is a `keras.Model`.

    Parameters
    ----------
    thing : Any
        Any object.

    Returns
    -------
    bool
        False while Keras is not imported.
    """
    return is_made_by(thing, "keras", "Model")


def _with_params(function: Any, params: Any) -> Model:
    """Make a model of `(apply, params)`, or of a Linen module and its variables: wrapped, as jit keys need a hash."""
    apply: Callable[..., Any] = function.apply if is_made_by(function, "flax.linen", "Module") else function

    def with_params(params: Any, images: jax.Array) -> Any:
        return apply(params, images)

    return jax.tree_util.Partial(hinted(with_params, function), params)


def _alone(model: Any) -> Model:
    """Make a model of a callable: the arrays of a pytree become arguments of compiled programs, other leaves do not."""
    leaves, form = jax.tree.flatten(model)
    arrays = {at: leaf for at, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)}

    def alone(arrays: dict[int, jax.Array], images: jax.Array) -> Any:
        whole = jax.tree.unflatten(form, [arrays.get(at, leaf) for at, leaf in enumerate(leaves)])
        return whole(images)

    return jax.tree_util.Partial(hinted(alone, model), arrays)
