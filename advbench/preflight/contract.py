"""What images, labels and a model must be like for anything to be run; each refusal is one clear line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advbench.core.errors import AdvbenchError, UsageError
from advbench.core.outputs import logits_type
from advbench.wrappers.facing import rejects

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

Array = NDArray[Any]


def check_data(images: Any, labels: Any) -> tuple[Array, Array]:
    """Images as float32 `[n, H, W, C]` in [0, 1] and labels as int32 `[n]`, or a UsageError."""
    x, y = np.asarray(images), np.asarray(labels)
    if x.ndim != 4 or not len(x):
        raise UsageError(f"images should be [n, H, W, C] with n at least 1, not of shape {list(x.shape)}")
    if x.dtype.kind != "f":
        raise UsageError(f"images are {x.dtype}: divide by 255 and give float32 in [0, 1]")
    if not np.isfinite(x).all():
        raise UsageError("images hold values that are not finite")
    if x.min() < 0 or x.max() > 1:
        cause = "divide by 255" if x.max() > 8 and x.min() >= 0 else "normalisation belongs inside the model"
        raise UsageError(f"images span [{x.min():.4g}, {x.max():.4g}], not [0, 1]: {cause}")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise UsageError(f"labels should be integers [{len(x)}], not {y.dtype} {list(y.shape)}")
    return x.astype(np.float32), y.astype(np.int32)


def check_outputs(model: LoadedModel, x: Array, y: Array, classes: int | None = None) -> tuple[int, frozenset[str]]:
    """Hold against the data what the model takes and gives.

    Parameters
    ----------
    model : LoadedModel
    x, y : np.ndarray
        As `check_data` gives them.
    classes : int, optional
        Of the data; as many logits there must be, and one more of a model that rejects images by it.

    Returns
    -------
    int
        How many logits there are, without one that rejects.
    frozenset of str
        Types that they have before they become float32.

    Raises
    ------
    UsageError
        The model does not take the images, or gives something else than float logits `[B, K]`, or too few.
    """
    if model.shape and tuple(model.shape) != x.shape[1:]:
        raise UsageError(f"{model.name} takes images {list(model.shape)}, but the data has {list(x.shape[1:])}")
    try:
        out, types = logits_type(model.predict, x.shape[1:])
    except Exception as error:  # whatever a user's own code may raise
        raise UsageError(f"{model.name} can't be called on images {list(x.shape[1:])}: {first_line(error)}") from error
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 2 or shape[1] < 2:
        got = type(out).__name__ if shape is None else list(shape)
        raise UsageError(f"{model.name} should give logits [B, K] with K at least 2; on two images it gives {got}")
    if out.dtype.kind not in "fV":  # V: bfloat16 and other extensions
        raise UsageError(f"{model.name} should give float logits, not {out.dtype}")
    if model.classes and model.classes != shape[1]:
        raise UsageError(f"{model.name} is said to have {model.classes} classes but gives {shape[1]} logits")
    if y.min() < 0 or y.max() >= shape[1]:
        raise UsageError(f"labels span {y.min()}..{y.max()}, but {model.name} gives {shape[1]} logits")
    outputs = shape[1] - rejects(model.predict)
    if classes is not None and outputs < classes:
        raise UsageError(f"the data has {classes} classes, but {model.name} gives {outputs} logits")
    return outputs, types


def first_line(error: Exception) -> str:
    """What an exception says, short."""
    text = str(error).strip()
    if isinstance(error, AdvbenchError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
