"""MATLAB files in the format of Street View House Numbers: `X` [32, 32, 3, N] and `y` [N, 1], in which 10 is zero."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from advbench.core.arrays import Arrays, checked
from advbench.core.errors import DataUnavailable, UsageError
from advbench.data.formats import CorruptData
from advbench.data.listing import DataSource, Part
from advbench.data.splits import by_split

DIGITS = tuple("0123456789")


def find(files: Sequence[Path], path: Path, name: str) -> DataSource:
    """Describe such files, one for each split.

    Parameters
    ----------
    files : Sequence[Path]
        The files.
    path : Path
        Path as typed.
    name : str
        Name of the data.

    Returns
    -------
    DataSource
        Splits, read on demand.

    Raises
    ------
    UsageError
        When a split has several files.
    """
    parts = by_split(files)
    if double := next((found for found in parts.values() if len(found) > 1), None):
        raise UsageError(f"{path} has several files of one split: {', '.join(file.name for file in double)}; name one")
    splits: dict[str, Callable[[], Part]] = {split: partial(_read, found[0]) for split, found in parts.items()}
    return DataSource(name, str(path), splits, DIGITS, "SVHN's MATLAB files")


def _read(path: Path) -> Arrays:
    from scipy.io import loadmat  # type: ignore[import-untyped]
    from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

    try:
        content = loadmat(path, variable_names=["X", "y"])
    except OSError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror or error}") from None
    except NotImplementedError:
        raise UsageError(f"{path} is a MATLAB file of version 7.3; save it as version 7") from None
    except (ValueError, TypeError, KeyError, IndexError, EOFError, zlib.error, MatReadError, MemoryError) as error:
        raise CorruptData(f"{path} is no sound MATLAB file: {' '.join(str(error).split())}") from None
    if not {"X", "y"} <= content.keys():
        raise UsageError(f"{path} has no X [H, W, C, N] and y [N, 1], as the Street View House Numbers have")
    images, labels = content["X"], content["y"]
    if images.ndim != 4 or labels.dtype.kind not in "iu":
        raise UsageError(f"{path}: X is {list(images.shape)} and y {labels.dtype}, not [H, W, C, N] and integers")
    digits = np.where(labels == 10, 0, labels.astype(np.int64))
    return checked(images.transpose(3, 0, 1, 2), digits, DIGITS, "nhwc", str(path))
