"""Input defenses: each wraps any model, and is attacked adaptively by default."""

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
    """Put input defenses in front of a model; the defended model has another name and digest.

    Parameters
    ----------
    model : LoadedModel
        The model to defend.
    shape : sequence of int
        Image shape (H, W, C).
    texts : sequence of str or None
        Input defenses like `jpeg:quality=75`, in the order in which they are applied to an image; none leaves the
        model unchanged.
    adaptive : bool
        Attacks know the input defenses.

    Returns
    -------
    LoadedModel
        The defended model.

    Raises
    ------
    UsageError
        For an unknown input defense or setting, one that can't work on these images, two that can't be combined, or a
        model that only answers queries.
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
        compare=None,  # the original runtime does not have the input defenses
        record={**model.record, "wrappers": told, "adaptive": adaptive},
    )


def wrapped_as_in(record: Mapping[str, Any], model: LoadedModel, shape: Sequence[int]) -> LoadedModel:
    """Put the input defenses named in a result's model record in front of a model.

    Parameters
    ----------
    record : mapping
        `ModelInfo.record` of a result.
    model : LoadedModel
        The undefended model.
    shape : sequence of int
        Image shape (H, W, C).

    Returns
    -------
    LoadedModel
        The defended model, or `model` itself if the record names no input defenses.

    Raises
    ------
    UsageError
        As in `wrapped`.
    """
    if not record.get("wrappers"):
        return model
    return wrapped(model, shape, record["wrappers"], adaptive=record.get("adaptive", True))
