"""Choice of the logits among a network's outputs: one array, or a tuple or dictionary of several."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from advbench.core.errors import UsageError

NAMED: Final = "logits"
ASK: Final = "name the one that holds the logits with --logits"


@dataclass(frozen=True)
class Wanted:
    """Criterion for the logits among several outputs.

    Parameters
    ----------
    name : str, optional
        Name of the output: a key, or a position in a tuple.
    classes : int, optional
        Number of classes of the data: the width of the output.
    """

    name: str | None = None
    classes: int | None = None


ANY: Final = Wanted()


def picked(outputs: Any, wanted: Wanted) -> Any:
    """Pick the logits among a network's outputs: an array, or several in tuples, lists, mappings and dataclasses.

    Axes of length 1 that fully convolutional networks leave, `[B, K, 1, 1]`, are dropped. If the data has two classes,
    a network's single logit z, `[B, 1]` or `[B]`, becomes `[0, z]`: the sigmoid of z is the probability of class 1.

    Parameters
    ----------
    outputs : Any
        Output of the network.
    wanted : Wanted
        Criterion for the logits.

    Returns
    -------
    Any
        Array `[B, K]`.

    Raises
    ------
    UsageError
        When no output is meant, or several could be.
    """
    found = dict(_named(outputs))
    if "" in found:
        if wanted.name is not None:
            raise UsageError(f"the model has one output, without a name: leave out --logits {wanted.name}")
        return _rows(found[""], wanted)
    return _rows(found[chosen({name: _form(array) for name, array in found.items()}, wanted)], wanted)


def row_shape(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the shape of an output without the axes of length 1 behind the batch: `[B, K]` of `[B, K, 1, 1]`.

    Parameters
    ----------
    shape : tuple[Any, ...]
        Integers or symbolic dimensions.

    Returns
    -------
    tuple[Any, ...]
        The same shape if it has at most two axes, or more than one behind the batch that is longer than 1.
    """
    long = [side for side in shape[1:] if not (isinstance(side, int) and side == 1)]
    return shape if len(shape) < 3 or len(long) > 1 else (shape[0], *(long or [1]))


def chosen(forms: Mapping[str, tuple[bool, tuple[int | None, ...]]], wanted: Wanted, ask: str = ASK) -> str:
    """Return the name of the output that holds the logits.

    The one that is named; else among the outputs `[B, K]` of floats, K at least 2, those with as many columns as the
    data has classes, if any; of these the one called "logits", or else the only one. Outputs `[B, K, 1, 1]` come after
    those `[B, K]`. If the data has two classes, one logit, `[B, 1]`, comes before an output of another width.

    Parameters
    ----------
    forms : Mapping[str, tuple[bool, tuple[int or None, ...]]]
        By name, whether an output holds floats, and its shape.
    wanted : Wanted
        Criterion for the logits.
    ask : str, default ASK
        Advice at the end of the error.

    Returns
    -------
    str
        Name of an output.

    Raises
    ------
    UsageError
        When there is no output of that name, or none or several could be meant.
    """
    told = ", ".join(f"{name} {[*shape]}" for name, (_, shape) in list(forms.items())[:9]) or "none"
    if wanted.name is not None:
        if wanted.name not in forms:
            raise UsageError(f"the model has no output {wanted.name!r} (there are: {told})")
        return wanted.name
    likely = _likely({name: shape for name, (floats, shape) in forms.items() if floats}, wanted.classes)
    called = [name for name in likely if name.rpartition(".")[2].lower() == NAMED]
    if len(best := called or likely) == 1:
        return best[0]
    if len(forms) == 1:
        return next(iter(forms))
    raise UsageError(f"the model has several outputs ({told}): {ask}")


def _likely(shapes: Mapping[str, tuple[int | None, ...]], classes: int | None) -> list[str]:
    """List the outputs of floats that may hold logits: the first kind that has any."""
    plain = {name: shape[1] for name, shape in shapes.items() if len(shape) == 2}
    bare = {name: form[1] for name, shape in shapes.items() if len(form := row_shape(shape)) == 2}
    kinds: list[list[str]] = []
    if classes is not None:
        kinds += [[name for name, width in plain.items() if width == classes]]
        kinds += [[name for name, width in bare.items() if width in ((1, 2) if classes == 2 else (classes,))]]
    kinds += [[name for name, width in some.items() if width is None or width > 1] for some in (plain, bare)]
    return next(filter(None, kinds), [])


def _rows(array: Any, wanted: Wanted) -> Any:
    """Return one output as rows of logits, where possible."""
    if not hasattr(array, "shape") or "float" not in str(getattr(array, "dtype", "")):
        return array
    shape = row_shape(tuple(array.shape))
    if wanted.classes == 2 and (len(shape) == 1 or shape[1:] == (1,)):
        column = array.reshape((shape[0], 1))
        library = _library(column)
        return library.concatenate((library.zeros_like(column), column), 1)
    return array.reshape(shape) if shape != tuple(array.shape) else array


def _library(array: Any) -> Any:
    """Return the library that an array belongs to."""
    if "torch" in sys.modules and isinstance(array, sys.modules["torch"].Tensor):
        return sys.modules["torch"]
    return np if isinstance(array, np.ndarray) else jnp


def _named(outputs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every array with its path through tuples and mappings, like `head.0`; a lone one has the name ""."""
    if is_dataclass(outputs) and not hasattr(outputs, "shape"):
        outputs = {each.name: getattr(outputs, each.name) for each in fields(outputs)}
    if isinstance(outputs, Mapping):
        parts: Any = outputs.items()
    elif isinstance(outputs, tuple | list):
        parts = zip(getattr(outputs, "_fields", range(len(outputs))), outputs, strict=True)
    else:
        if hasattr(outputs, "shape") or not name:
            yield name, outputs
        return
    for key, part in parts:
        yield from _named(part, f"{name}.{key}" if name else str(key))


def _form(array: Any) -> tuple[bool, tuple[int | None, ...]]:
    return "float" in str(array.dtype), tuple(array.shape)
