"""User arrays, checked and converted to one form: images uint8 `[N, H, W, C]`, labels int32 `[N]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from advbench.core.errors import UsageError
from advbench.core.lazy import CHUNK, Lazy

CHANNELS = (1, 3, 4)
LAYOUTS = ("nhwc", "nchw")
MOST = 1_000_000  # largest number of classes
ROUNDING = 1e-6  # white being 1: error of n / 255 in float32


class Arrays(NamedTuple):
    """Content of a data set, in the form that `Dataset` has.

    Parameters
    ----------
    images : Any
        uint8 `[N, H, W, C]`.
    labels : np.ndarray
        int32 `[N]`.
    classes : tuple[str, ...]
        Names of the classes, by label.
    notes : tuple[str, ...]
        Changes made on the way, a line each.
    """

    images: Any
    labels: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def checked(
    images: Any, labels: Any, names: Sequence[str] | None = None, layout: str | None = None, where: str = ""
) -> Arrays:
    """Convert images, labels and class names to the form of a `Dataset`.

    Parameters
    ----------
    images : Any
        uint8, or floats in [0, 1]; `[N, H, W, C]`, `[N, C, H, W]` or `[N, H, W]`, or a `Lazy`.
    labels : Any
        Integers `[N]` or `[N, 1]`, from 0.
    names : Sequence[str], optional
        Names of the classes; by default their numbers.
    layout : str, optional
        "nhwc" or "nchw"; by default as the shape tells.
    where : str, default ''
        Origin of the data, at the beginning of every message.

    Returns
    -------
    Arrays
        The converted data.

    Raises
    ------
    UsageError
        In one line, for anything but a set of labelled images.
    """
    where = f"{where}: " if where else ""
    numbers = _labels(labels, where)
    moved = 0.0
    pixels = images
    if not isinstance(images, Lazy):
        pixels, moved = _images(_numpy(images, "images", where), layout, where)
    if len(pixels) != len(numbers):
        raise UsageError(f"{where}there are {len(pixels):,} images but {len(numbers):,} labels")
    note = f"pixels were rounded to the nearest of 256 levels, by up to {moved:.2g}: they were not made of 8 bits"
    return Arrays(pixels, numbers, named(numbers, names, where), (note,) if moved > ROUNDING else ())


def named(labels: np.ndarray, names: Sequence[str] | None, where: str = "") -> tuple[str, ...]:
    """Return the class names of labels: those given, else their numbers.

    Parameters
    ----------
    labels : np.ndarray
        int32 `[N]`.
    names : Sequence[str] or None
        Names of the classes.
    where : str, default ''
        Beginning of every message.

    Returns
    -------
    tuple[str, ...]
        A name for each class.

    Raises
    ------
    UsageError
        For a label without a name, or a name given twice.
    """
    most = int(labels.max())
    if names is None:
        return tuple(map(str, range(max(most + 1, 2))))
    classes = tuple(map(str, names))
    if twice := next((name for at, name in enumerate(classes) if name in classes[:at]), None):
        raise UsageError(f"{where}two classes are called {twice!r}")
    if most >= len(classes):
        raise UsageError(f"{where}label {most} has no name: there are {len(classes)} names, for labels from 0")
    return classes


def numbered(
    values: Sequence[Any], classes: tuple[str, ...] | None, where: str
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Convert the labels of a table to numbers; words also give class names, in alphabetical order unless given.

    Parameters
    ----------
    values : Sequence[Any]
        All integers, or all words.
    classes : tuple[str, ...] or None
        Names of the classes, if known.
    where : str
        Origin of the table, for messages.

    Returns
    -------
    tuple[np.ndarray, tuple[str, ...] or None]
        int32 `[N]`, and the names of the classes.

    Raises
    ------
    UsageError
        For values that are neither all integers nor all words, and words that are no class.
    """
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return _labels(list(values), f"{where}: "), classes
    if values and all(isinstance(value, str) for value in values):
        classes = classes or tuple(sorted(set(values)))
        number = {name: at for at, name in enumerate(classes)}
        if strange := next((value for value in values if value not in number), None):
            raise UsageError(f"{where}: label {strange!r} is not among the classes")
        return np.array([number[value] for value in values], np.int32), classes
    raise UsageError(f"{where}: labels are neither all integers nor all words")


def _numpy(values: Any, what: str, where: str) -> np.ndarray:
    """Convert an array of any library to NumPy; a PyTorch tensor is taken off its device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}the {what} are no array: {' '.join(str(error).split())}") from None
    if array.dtype.hasobject:
        raise UsageError(f"{where}the {what} are Python objects, not one array of numbers: are they of several sizes?")
    return array


def _labels(labels: Any, where: str) -> np.ndarray:
    array = _numpy(labels, "labels", where)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        raise UsageError(
            f"{where}labels are {list(array.shape)}, one-hot or many to an image: give one class number each "
            "(labels.argmax(1), if one-hot)"
        )
    if array.ndim != 1 or not array.size:
        raise UsageError(f"{where}labels are {list(array.shape)}: give one class number for each image, at least one")
    if array.dtype.kind not in "iu":
        raise UsageError(f"{where}labels are {array.dtype}: give class numbers as integers (labels.astype(int))")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= MOST:
        raise UsageError(f"{where}labels reach from {low} to {high}: classes are numbered from 0, up to {MOST - 1:,}")
    return array.astype(np.int32)


def _images(array: np.ndarray, layout: str | None, where: str) -> tuple[np.ndarray, float]:
    """Return images in their final form, and the largest change of a pixel on the way, white being 1."""
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"{where}layout {layout!r} should be nhwc or nchw")
    if array.ndim == 3:
        array = array[..., None] if layout != "nchw" else array[:, None]
    if array.ndim != 4 or 0 in array.shape:
        raise UsageError(
            f"{where}images are {list(array.shape)}: they must be [N, H, W, C] or [N, C, H, W], none empty"
        )
    if (layout or _layout(array.shape, where)) == "nchw":
        array = array.transpose(0, 2, 3, 1)
    if array.shape[-1] not in CHANNELS:
        raise UsageError(f"{where}images have {array.shape[-1]} channels: 1, 3 and 4 are known")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), 0.0
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return _levels(array, where)
    if array.dtype.kind in "iu":
        raise UsageError(
            f"{where}images are {array.dtype}: give uint8 (images.astype('uint8'), if they reach from 0 to 255) or "
            "floats in [0, 1]"
        )
    raise UsageError(f"{where}images are {array.dtype}: give uint8, or floats in [0, 1]")


def _layout(shape: tuple[int, ...], where: str) -> str:
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first and not last:
        return "nchw"
    if last and not first:
        return "nhwc"
    if first and last:  # an image of 1, 3 or 4 pixels across
        raise UsageError(f"{where}images {list(shape)} may be [N, H, W, C] or [N, C, H, W]: say which, by layout=")
    raise UsageError(f"{where}images are {list(shape)}: neither the second axis nor the last holds 1, 3 or 4 channels")


def _levels(array: np.ndarray, where: str) -> tuple[np.ndarray, float]:
    """Round floats in [0, 1] to the nearest of 256 levels, a part at a time."""
    levels, moved = np.empty(array.shape, np.uint8), 0.0
    rows = max(1, CHUNK // array[0].size)
    for at in range(0, len(array), rows):
        part = array[at : at + rows].astype(np.float32)
        if not np.isfinite(part).all():
            raise UsageError(f"{where}images hold NaN or infinity")
        low, high = float(part.min()), float(part.max())
        if low < 0 or high > 1:
            advice = "divide by 255, or give uint8" if low >= 0 and high <= 255 else "undo their normalisation first"
            raise UsageError(f"{where}images reach from {low:.4g} to {high:.4g}, outside [0, 1]: {advice}")
        near = np.rint(part * 255)
        moved = max(moved, float(np.abs(near / 255 - part).max()))
        levels[at : at + rows] = near
    return levels, moved
