"""Images of a run, clean and adversarial, and how a change to one is made visible."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from advbench.evaluation.result import Result, Row

AMPLITUDE = 0.4  # of the largest change around mid-grey
LESS, MORE = (0, 114, 178), (213, 94, 0)  # darker, brighter; told apart by the colour-blind too


class Pair(NamedTuple):
    """A clean image and the adversarial one made of it, float32 `[H, W, C]` in [0, 1]."""

    row: Row
    clean: np.ndarray
    adversarial: np.ndarray


def class_name(result: Result, label: int | None) -> str:
    """What a class is called; a prediction that is not finite has no class."""
    if label is None:
        return "not finite"
    classes = result.data.classes
    return classes[label] if label < len(classes) else f"class {label}"


def varied(labels: Sequence[int]) -> list[int]:
    """Positions, one of each class before the second of any."""
    rank: dict[int, int] = {}
    order = []
    for at, label in enumerate(labels):
        rank[label] = rank.get(label, -1) + 1
        order.append((rank[label], label, at))
    return [at for _, _, at in sorted(order)]


def spread(broken: Sequence[Pair]) -> list[Pair]:
    """The same pairs, one of each class before the second of any."""
    return [broken[at] for at in varied([pair.row.label for pair in broken])]


def amplified(clean: np.ndarray, adversarial: np.ndarray) -> tuple[np.ndarray, float]:
    """The change as a picture, and by how much it was amplified.

    Returns
    -------
    tuple of array and float
        Float32 `[H, W, 3]` in [0, 1]: of colour images the change around mid-grey, of grey ones white where nothing
        changed, blue where it got darker and orange where it got brighter.
    """
    change = adversarial.astype(np.float64) - clean
    factor = AMPLITUDE / max(float(np.abs(change).max()), 1e-12)
    if change.shape[-1] != 1:
        return np.clip(0.5 + factor * change, 0, 1).astype(np.float32), factor
    share = factor / AMPLITUDE * change  # [H, W, 1] in [-1, 1]
    towards = np.where(share < 0, np.array(LESS), np.array(MORE)) / 255
    return (1 - np.abs(share) * (1 - towards)).astype(np.float32), factor


def png(image: np.ndarray) -> bytes:
    """An image `[H, W, 1 or 3]` in [0, 1] as a PNG file of its own size."""
    from PIL import Image

    levels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
