"""Scores among named answers: several outputs, records, or one column for each class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from advbench.core.choice import row_shape
from advbench.core.errors import TargetUnavailable, UsageError
from advbench.remote.pixels import numbers
from advbench.remote.protocols import fitting, shown

Columns = Mapping[str, np.ndarray | None]


def rows_of(said: Any, key: str | None, classes: int | None, n: int, where: object) -> np.ndarray | None:
    """Read the part of an answer that holds outputs.

    Parameters
    ----------
    said : JSON
        A row or a number for each image; a record for each image, as MLflow writes data frames; or an object of outputs
        by name, each with all images.
    key : str, optional
        Name of the output to take.
    classes : int, optional
        Number of classes of the data.
    n : int
        Number of images in the request.
    where : object
        The URL, for messages.

    Returns
    -------
    np.ndarray or None
        None if it holds no numbers.

    Raises
    ------
    TargetUnavailable, UsageError
        As `taken`.
    """
    if isinstance(said, dict):
        return taken({name: numbers(column) for name, column in said.items()}, key, classes, n, where)
    if isinstance(said, list) and said and all(isinstance(row, dict) for row in said):
        columns = {name: numbers([row.get(name) for row in said]) for name in said[0]}
        return taken(columns, key, classes, n, where)
    return numbers(said)


def taken(columns: Columns, key: str | None, classes: int | None, n: int, where: object) -> np.ndarray:
    """Choose the named output; else, of those with several numbers per image, the fitting one; else a column per class.

    Columns are scores of the classes if their names are the numbers from 0 on, or if they hold fractions and there is
    one for each class; they are then in the order of the data's classes.

    Parameters
    ----------
    columns : mapping
        Arrays by name; None for an output without numbers.
    key : str or None
        Name of the output to take.
    classes : int or None
        Number of classes of the data.
    n : int
        Number of images in the request.
    where : object
        The URL, for messages.

    Returns
    -------
    np.ndarray
        `[n, K]` or `[n]`.

    Raises
    ------
    TargetUnavailable
        When there is no output of that name, or none holds numbers for `n` images.
    UsageError
        When several could be meant.
    """
    told = ", ".join(_short(columns)) or "nothing"
    full = {name: a for name, a in columns.items() if a is not None and a.shape[:1] == (n,)}
    arrays = {name: a.reshape(row_shape(a.shape)) for name, a in full.items()}
    if key is not None:
        if key not in columns:
            raise TargetUnavailable(f"{where} answered without output {key!r} (there are: {told})")
        if key not in arrays:
            raise TargetUnavailable(f"{where} answered an output {key!r} that is not {n} rows of finite numbers")
        return arrays[key]
    if wide := {name: a.astype(float) for name, a in arrays.items() if a.ndim == 2 and a.shape[1] > 1}:
        return wide[fitting(wide, classes, where)]
    single = {name: a.reshape(n) for name, a in arrays.items() if a.size == n}
    if scores := _each_class(single, classes):
        return np.stack([single[name] for name in scores], 1)
    if len(single) == 1:
        return next(iter(single.values()))
    if not single:
        raise TargetUnavailable(f"{where} answers {told}: none of these holds finite numbers for {n} images")
    raise UsageError(
        f"{where} answers one number each for {', '.join(_short(single))}, which are no scores of {classes or 'all'} "
        "classes: name the one with the label as `output` in a target file"
    )


def _each_class(single: Mapping[str, np.ndarray], classes: int | None) -> list[str]:
    """Return the names of columns with one class each, in the order of classes; empty if they are anything else."""
    numbered = sorted((name for name in single if name.isascii() and name.isdigit()), key=int)
    if len(numbered) > 1 and [int(name) for name in numbered] == list(range(len(numbered))):
        return numbered
    fractions = all(column.dtype.kind == "f" for column in single.values())
    return list(single) if fractions and len(single) == classes else []


def _short(names: Iterable[str]) -> list[str]:
    return [shown(name) for name in list(names)[:9]]
