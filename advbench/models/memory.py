"""A network that is in memory already, as a `LoadedModel`: whatever `adapt` knows, and plain functions."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from advbench.core import devices
from advbench.core.ambient import own_settings
from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.preprocess import AS_IS, Preprocess, prepared
from advbench.core.usercode import one_line
from advbench.models.adapt import Adapted, adapt
from advbench.models.fingerprint import digest_of

SINGLE = ("nchw", "nhwc")  # order of axes of networks that take one image: Equinox puts channels first


@own_settings()
def of_object(made: Any, preprocess: Preprocess = AS_IS) -> LoadedModel:
    """Make a model ready to be attacked of what is in memory.

    Parameters
    ----------
    made : Any
        A callable from images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`; a Flax NNX module; a bound Linen
        module; a pair `(module, variables)` of Linen or `(apply, params)`; an Equinox module, which takes one image; a
        `torch.nn.Module`; or a Keras 3 model. It is put into evaluation mode where its library has one.
    preprocess : Preprocess
        What to do to images before the network sees them.

    Returns
    -------
    LoadedModel
        Its digest covers every array within reach and the code of its functions.

    Raises
    ------
    UsageError
        When it is no model, or can't be evaluated as it is.

    Examples
    --------
    >>> model = of_object(lambda images: images.reshape(len(images), -1)[:, :3])
    >>> model.predict(np.ones((2, 4, 4, 1), np.float32)).shape
    (2, 3)
    """
    name = _name(made)
    with one_line(name):
        adapted = _single(made) if _is_equinox(made) else adapt(_whole(made, name), name)
    model = LoadedModel(name, adapted.predict, None, None, None, digest_of(made), adapted.record)
    model = prepared(model, preprocess, adapted.layouts)
    return LoadedModel(**{**vars(model), "predict": devices.replicated(model.predict), "source": "memory"})


def _name(made: Any) -> str:
    """Short, for tables."""
    thing = made[0] if isinstance(made, tuple) and made else made
    while isinstance(thing, functools.partial):
        thing = thing.func
    own = getattr(thing, "__name__", None)
    return own.strip("<>") if isinstance(own, str) and own else type(thing).__name__


def _whole(made: Any, name: str) -> Any:
    """What `adapt` is to be given.

    Raises
    ------
    UsageError
        For a Linen module without its variables.
    """
    linen = sys.modules.get("flax.linen")
    if linen is not None and isinstance(made, linen.Module):
        if made.scope is None:
            raise UsageError(f"{name} is a Linen module without its variables: give (module, variables)")
        unbound, variables = made.unbind()
        return unbound, variables
    if callable(made) and not jax.tree_util.all_leaves([made]):
        return _arrays_apart(made)
    return made


def _is_equinox(made: Any) -> bool:
    return "equinox" in sys.modules and isinstance(made, sys.modules["equinox"].Module)


def _single(module: Any) -> Adapted:
    """A network of Equinox, which takes one image, for many."""
    inference = sys.modules["equinox"].nn.inference_mode(module)
    return Adapted(_arrays_apart(jax.vmap, inference), SINGLE, {})


def _arrays_apart(*made: Any) -> Any:
    """A callable pytree as one that has arrays only for leaves: what else it holds, like functions, is no JAX type.

    Given a transformation before it, that is applied to it.
    """
    *around, made = made
    leaves, structure = jax.tree.flatten(made)
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    if all(is_array) and not around:
        return made
    others = [None if array else leaf for leaf, array in zip(leaves, is_array, strict=True)]

    def call(arrays: list[Any], images: jax.Array) -> Any:
        rest = iter(arrays)
        mixed = [next(rest) if array else other for array, other in zip(is_array, others, strict=True)]
        network: Callable[..., Any] = jax.tree.unflatten(structure, mixed)
        for transformation in around:
            network = transformation(network)
        return network(images)

    return jax.tree_util.Partial(call, [leaf for leaf, array in zip(leaves, is_array, strict=True) if array])
