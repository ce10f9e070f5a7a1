"""Defenses at inference: each wraps any model, and is attacked by those who know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from advbench.core.ambient import own_settings
from advbench.core.errors import UsageError
from advbench.core.spec import build
from advbench.wrappers.base import Transform, Wrapper
from advbench.wrappers.bits import BitDepth
from advbench.wrappers.jpeg import Jpeg
from advbench.wrappers.median import Median
from advbench.wrappers.purify import Purify
from advbench.wrappers.resize import RandomResize
from advbench.wrappers.squeeze import FeatureSqueezing

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

__all__ = ["WRAPPERS", "Transform", "Wrapper", "wrapped", "wrapped_as_in"]

WRAPPERS: Final[dict[str, type[Wrapper]]] = {
    "jpeg": Jpeg,
    "bits": BitDepth,
    "median": Median,
    "resize": RandomResize,
    "squeeze": FeatureSqueezing,
    "purify": Purify,
}


@own_settings()
def wrapped(
    model: LoadedModel, shape: Sequence[int], texts: Sequence[str] | None, *, adaptive: bool = True
) -> LoadedModel:
    """A model behind defenses at inference, as a model of another name and digest.

    Parameters
    ----------
    model : LoadedModel
        What is defended.
    shape : sequence of int
        Of the images, (H, W, C).
    texts : sequence of str or None
        Like `jpeg:quality=75`, in the order in which an image meets them; none leaves the model as it is.
    adaptive : bool
        Whether attacks know of them.

    Raises
    ------
    UsageError
        For an unknown wrapper or setting, one that can't work on these images, or two that don't go together.
    """
    if not texts:
        if not adaptive:
            raise UsageError("--no-adaptive is about input defenses: name one with --input-defense")
        return model
    if model.access != "gradient":
        raise UsageError(f"--input-defense needs a model that runs here; {model.name} answers queries only")
    wrappers = [build("input defense", text, WRAPPERS) for text in texts]
    if len(wrappers) > 1 and any(isinstance(wrapper, FeatureSqueezing) for wrapper in wrappers):
        raise UsageError("squeeze compares predictions of one plain network: leave out the other input defenses")
    height, width, channels = shape
    predict, size = model.predict, (height, width, channels)
    try:
        for wrapper in reversed(wrappers):
            wrapper.check(size)
            predict = wrapper.wrap(predict, size, adaptive=adaptive)
    except ValueError as error:
        raise UsageError(str(error)) from None
    told = [text.strip() for text in texts]
    parts = [model.digest, "adaptive" if adaptive else "", *(wrapper.identity() for wrapper in wrappers)]
    return replace(
        model,
        name=" + ".join([model.name, *told, *([] if adaptive else ["not adaptive"])]),
        predict=predict,
        digest=sha256("\n".join(parts).encode()).hexdigest(),
        compare=None,  # its runtime knows no wrappers
        record={**model.record, "wrappers": told, "adaptive": adaptive},
    )


def wrapped_as_in(record: Mapping[str, Any], model: LoadedModel, shape: Sequence[int]) -> LoadedModel:
    """The model behind the defenses that its record in a result names, for images (H, W, C); raises as `wrapped`."""
    if not record.get("wrappers"):
        return model
    return wrapped(model, shape, record["wrappers"], adaptive=record.get("adaptive", True))
