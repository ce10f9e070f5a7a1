"""Search for the layout of a network's input, if none was declared: the one with the highest clean accuracy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from advbench.attacks import Model, Randomised
from advbench.core.ambient import own_settings

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

PROBE = 128  # images used


@own_settings()
def find_layout(model: LoadedModel, images: Any, labels: Any) -> tuple[LoadedModel, dict[str, float]]:
    """Try each layout that the model's input may have.

    Parameters
    ----------
    model : LoadedModel
        The model as `load_model` returns it, in the likeliest of its `layouts`.
    images, labels : np.ndarray
        Clean images, float32 `[n, H, W, C]` in [0, 1], and their true classes, integers `[n]`.

    Returns
    -------
    LoadedModel
        The model in its likeliest layout, or in the one with the highest clean accuracy if that is clearly better: by
        10 percentage points and by two standard errors.
    dict
        Clean accuracy in each layout in which the network can be called; empty if there is only one layout.
    """
    if len(model.layouts) < 2:
        return model, {}
    from advbench.preflight import clean_accuracy

    images, labels = images[:PROBE], labels[:PROBE]
    tries = {layout: _in_layout(model, layout) for layout in model.layouts}
    scores = {
        layout: clean_accuracy(candidate, images, labels)
        for layout, candidate in tries.items()
        if _runs(candidate.predict, images)
    }
    if not scores:
        return model, {}
    first, best = next(iter(scores)), max(scores, key=scores.__getitem__)
    clear = scores[best] - scores[first] > max(0.1, 2 / np.sqrt(len(labels)))
    return tries[best if clear else first], scores


def _in_layout(model: LoadedModel, layout: str) -> LoadedModel:
    preprocess = replace(model.preprocess, layout=layout)
    return replace(model, predict=_rewrap(model.predict, preprocess), preprocess=preprocess, layouts=())


def _rewrap(predict: Any, preprocess: Any) -> Model:
    if isinstance(predict, Randomised):
        return replace(predict, apply=replace(predict.apply, preprocess=preprocess))  # type: ignore[type-var]
    return replace(predict, preprocess=preprocess)  # type: ignore[no-any-return]


def _runs(predict: Model, images: Any) -> bool:
    """Return whether the network can be called on images of this shape."""
    try:
        out = jax.eval_shape(predict, jax.ShapeDtypeStruct((2, *images.shape[1:]), np.float32))
    except Exception:  # whatever a network may raise on images of another shape
        return False
    return len(out.shape) == 2 and out.shape[0] == 2
