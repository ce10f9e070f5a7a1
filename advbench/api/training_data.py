"""What a network is trained on and chosen by, and what it is to withstand."""

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
    """The threat as given, else the data set's; told before data are read."""
    name = data.name if isinstance(data, Dataset) else "the data" if isinstance(data, tuple) else str(data)
    info = DATASETS.get(known(name) or "")
    if info is None:
        if isinstance(data, str | Path):
            opened(name)  # told before anything else: there is no such data
        if norm is None or eps is None:
            raise UsageError(unknown_threat(name))
        return ThreatSpec.parse(norm, eps)
    return ThreatSpec.parse(norm or info.default_norm, eps or info.default_eps)


def training_images(data: Data, reading: Reading | None, notify: Callable[[str], None]) -> Dataset:
    """The images to train on."""
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
    """The split to choose the weights by, where the data have one."""
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
