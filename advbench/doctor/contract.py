"""What images, labels and a model must be like for anything to be run; each refusal is one clear line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from advbench.errors import AdvbenchError, UsageError

if TYPE_CHECKING:
    from advbench.models.load import LoadedModel

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


def check_outputs(model: LoadedModel, x: Array, y: Array) -> int:
    """The number of classes K, once the model is known to take the images and to give `[B, K]`, or a UsageError."""
    if model.shape and tuple(model.shape) != x.shape[1:]:
        raise UsageError(f"{model.name} takes images {list(model.shape)}, but the data has {list(x.shape[1:])}")
    try:
        out = jax.eval_shape(model.predict, jax.ShapeDtypeStruct((2, *x.shape[1:]), jnp.float32))
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
    return int(shape[1])


def first_line(error: Exception) -> str:
    """What an exception says, short."""
    text = str(error).strip()
    if isinstance(error, AdvbenchError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
