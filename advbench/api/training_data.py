"""Training images, validation images and threat model of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from advbench.api.subject import looking
from advbench.core.dataset import Dataset
from advbench.core.errors import UsageError
from advbench.core.spec import ThreatSpec, unknown_threat
from advbench.data import DATASETS, Reading, load
from advbench.data.catalog import known
from advbench.data.opening import opened, validation

Data = str | Path | Dataset | tuple[Any, ...]


def threat_of(data: Data, norm: str | None, eps: str | None) -> ThreatSpec:
    """Read the threat model as given, else take that of the data set; it is checked before data are read.

    Parameters
    ----------
    data : str, Path, Dataset or tuple
        As for `advbench.train`.
    norm, eps : str or None
        As typed.

    Returns
    -------
    ThreatSpec
        Threat model to train against.

    Raises
    ------
    UsageError
        When there are no such data, or the threat model is missing or wrong.
    """
    name = data.name if isinstance(data, Dataset) else "the data" if isinstance(data, tuple) else str(data)
    info = DATASETS.get(known(name) or "")
    if info is None:
        if isinstance(data, str | Path):
            opened(name)  # first of all, refuse data that do not exist
        if norm is None or eps is None:
            raise UsageError(unknown_threat(name))
        return ThreatSpec.parse(norm, eps)
    return ThreatSpec.parse(norm or info.default_norm, eps or info.default_eps)


def training_images(data: Data, reading: Reading | None, notify: Callable[[str], None]) -> Dataset:
    """Load the images to train on.

    Parameters
    ----------
    data : str, Path, Dataset or tuple
        As for `advbench.train`.
    reading : Reading or None
        Reading of image files.
    notify : callable
        Called with reports on progress as lines.

    Returns
    -------
    Dataset
        Training images.

    Raises
    ------
    AdvbenchError
        When there are no such data.
    """
    if isinstance(data, str | Path):
        return load(data, "train", reading=reading, tell=looking(str(data), notify))
    if reading:
        raise UsageError("reading is for files: images in memory are taken as they are")
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise UsageError("data should be a name, a path, a Dataset, or (images, labels)")
    return Dataset.from_arrays(*data, split="train")


def validation_images(
    data: Data, images: Dataset, reading: Reading | None, notify: Callable[[str], None]
) -> Dataset | None:
    """Load the split to choose the weights by, if the data have one.

    Parameters
    ----------
    data : str, Path, Dataset or tuple
        As for `advbench.train`.
    images : Dataset
        Training images.
    reading : Reading or None
        Reading of image files.
    notify : callable
        Called with notes as lines.

    Returns
    -------
    Dataset or None
        None if training images are to be held out instead.

    Raises
    ------
    UsageError
        When its images or classes differ from those of the training split.
    """
    if not isinstance(data, str | Path) or images.split != "train":
        return None
    found = validation(data, reading=reading, tell=looking(str(data), notify))
    if found is None:
        return None
    for note in found.notes:
        notify(f"note: {found.name} {found.split}: {note}")
    if found.shape != images.shape or found.classes != images.classes:
        differ = f"{found.shape} and {len(found.classes)} classes, not {images.shape} and {len(images.classes)}"
        raise UsageError(f"{found.source}: {found.split} has images of {differ}")
    return found
