"""Models in memory: anything that `adapt` takes, and plain functions, as a `LoadedModel`."""

from __future__ import annotations

import functools
from typing import Any

from advbench.core import devices
from advbench.core.ambient import own_settings
from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.preprocess import AS_IS, Preprocess, prepared
from advbench.core.usercode import one_line
from advbench.models.adapt import Adapted, adapt
from advbench.models.calls import is_made_by
from advbench.models.fingerprint import digest_of

GIVEN = "the model given"


@own_settings()
def of_object(made: Any, preprocess: Preprocess = AS_IS) -> LoadedModel:
    """Make a `LoadedModel` of an object in memory.

    Parameters
    ----------
    made : Any
        A callable from images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`; a Flax NNX module; a bound Linen
        module; a pair `(module, variables)` of Linen or `(apply, params)`; a `torch.nn.Module`; or a Keras 3 model. An
        Equinox module usually takes one image: give `lambda images: jax.vmap(module)(images)`.
    preprocess : Preprocess
        Applied to images before the network sees them.

    Returns
    -------
    LoadedModel
        Its digest covers every array within reach and the code of its functions.

    Raises
    ------
    UsageError
        When it is not a model, or can't be evaluated as it is.

    Examples
    --------
    >>> import numpy as np
    >>> model = of_object(lambda images: images.reshape(len(images), -1)[:, :3])
    >>> model.predict(np.ones((2, 4, 4, 1), np.float32)).shape
    (2, 3)
    """
    adapted = _adapted(made)
    model = LoadedModel(_name(made), adapted.predict, None, None, None, digest_of(made), adapted.record)
    model = prepared(model, preprocess, adapted.layouts)
    return LoadedModel(**{**vars(model), "predict": devices.replicated(model.predict), "source": "memory"})


def _name(made: Any) -> str:
    """Return a short name, for tables."""
    thing = made[0] if isinstance(made, tuple) and made else made
    while isinstance(thing, functools.partial):
        thing = thing.func
    own = getattr(thing, "__name__", None)
    return own.strip("<>") if isinstance(own, str) and own else type(thing).__name__


def _adapted(made: Any) -> Adapted:
    """Adapt an object that no factory returned; a bound Linen module brings its variables."""
    if is_made_by(made, "flax.linen", "Module") and made.scope is not None:
        made = made.unbind()
    try:
        with one_line(GIVEN):
            return adapt(made, GIVEN)
    except UsageError as error:
        said = str(error).replace(f"{GIVEN} returned", f"{GIVEN} is").replace(": return ", ": give ")
        raise UsageError(said) from error
