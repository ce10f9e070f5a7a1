"""Requirements on images, labels and a model; each violation is an error of one line."""

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
    """Check images and labels, and convert them.

    Parameters
    ----------
    images, labels : array-like
        Floating-point images `[n, H, W, C]` in [0, 1], n at least 1, and integer labels `[n]`.

    Returns
    -------
    tuple of np.ndarray
        Images float32 and labels int32.

    Raises
    ------
    UsageError
        When a shape, a type or a range is wrong.
    """
    x, y = np.asarray(images), np.asarray(labels)
    if x.ndim != 4 or not len(x):
        raise UsageError(f"images should have shape [n, H, W, C] with n at least 1, not {list(x.shape)}")
    if x.dtype.kind != "f":
        raise UsageError(f"images are {x.dtype}: divide by 255 and give float32 in [0, 1]")
    if not np.isfinite(x).all():
        raise UsageError("images contain NaN or infinite values: remove or repair these images")
    if x.min() < 0 or x.max() > 1:
        cause = "divide by 255" if x.max() > 8 and x.min() >= 0 else "normalisation belongs inside the model"
        raise UsageError(f"images span [{x.min():.4g}, {x.max():.4g}], not [0, 1]: {cause}")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise UsageError(f"labels should be integers of shape [{len(x)}], not {y.dtype} {list(y.shape)}")
    return x.astype(np.float32), y.astype(np.int32)


def check_outputs(model: LoadedModel, x: Array, y: Array, classes: int | None = None) -> tuple[int, frozenset[str]]:
    """Check the model's inputs and outputs against the data.

    Parameters
    ----------
    model : LoadedModel
        The model.
    x, y : np.ndarray
        Images and labels as `check_data` returns them.
    classes : int, optional
        Number of classes of the data. The model needs at least as many logits, besides one by which it rejects images.

    Returns
    -------
    int
        Number of logits, without one by which it rejects images.
    frozenset of str
        Types of the logits before they are converted to float32.

    Raises
    ------
    UsageError
        When the model can't be called on the images, returns something else than float logits `[B, K]`, or too few.
    """
    if model.shape and tuple(model.shape) != x.shape[1:]:
        raise UsageError(f"{model.name} takes images {list(model.shape)}, but the images are {list(x.shape[1:])}")
    try:
        out, types = logits_type(model.predict, x.shape[1:])
    except Exception as error:  # whatever a user's own code may raise
        raise UsageError(f"{model.name} can't be called on images {list(x.shape[1:])}: {first_line(error)}") from error
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 2 or shape[1] < 2:
        got = type(out).__name__ if shape is None else list(shape)
        raise UsageError(f"{model.name} should return logits [B, K] with K at least 2; for two images it returns {got}")
    if out.dtype.kind not in "fV":  # V: bfloat16 and other extensions
        raise UsageError(f"{model.name} should return float logits, not {out.dtype}")
    if model.classes and model.classes != shape[1]:
        raise UsageError(f"{model.name} declares {model.classes} classes but returns {shape[1]} logits")
    if y.min() < 0 or y.max() >= shape[1]:
        raise UsageError(f"labels range from {y.min()} to {y.max()}, but {model.name} returns {shape[1]} logits")
    outputs = shape[1] - rejects(model.predict)
    if classes is not None and outputs < classes:
        raise UsageError(f"the data has {classes} classes, but {model.name} returns {outputs} logits")
    return outputs, types


def first_line(error: Exception) -> str:
    """Return the first line of an exception, with its type unless it is our own."""
    text = str(error).strip()
    if isinstance(error, AdvbenchError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
