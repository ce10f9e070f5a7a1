"""Data made by the user's code: a function that returns images and labels, or a data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from advbench.core.arrays import Arrays, checked
from advbench.core.dataset import Dataset
from advbench.core.errors import UsageError
from advbench.core.usercode import function_of
from advbench.data.listing import DataSource, Part
from advbench.data.splits import ALL


def find(where: str, function: str) -> DataSource:
    """Describe the data that a function makes; one with a parameter `split` is called with "train" or "test".

    Parameters
    ----------
    where : str
        `path/to/file.py` or `package.module`.
    function : str
        Name of the function.

    Returns
    -------
    DataSource
        Splits, made on demand.

    Raises
    ------
    UsageError
        When the code fails, or there is no such function.
    """
    spec = f"{where}:{function}"
    with function_of(where, function) as (_, make):
        asked = "split" in inspect.signature(make).parameters
    splits: dict[str, Callable[[], Part]] = {}
    for split in ("train", "test") if asked else (ALL,):
        splits[split] = partial(_made, where, function, split if asked else None)
    stem = Path(where).stem if where.endswith(".py") else where
    return DataSource(f"{stem}:{function}", spec, splits, None, "function")


def _made(where: str, function: str, split: str | None) -> Arrays:
    spec = f"{where}:{function}"
    with function_of(where, function) as (_, make):
        made: Any = make() if split is None else make(split=split)
        if isinstance(made, Dataset):
            return Arrays(made.images, made.labels, made.classes, made.notes)
        if not isinstance(made, tuple | list) or len(made) not in (2, 3):
            raise UsageError(f"{spec} returned {type(made).__name__}: return (images, labels), or a Dataset")
        images, labels, *names = made
        return checked(images, labels, names[0] if names else None, where=spec)
