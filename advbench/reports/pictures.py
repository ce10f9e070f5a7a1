"""Clean and adversarial images of a run, and pictures of their difference."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from advbench.evaluation.result import Result, Row

AMPLITUDE = 0.4  # distance from mid-grey at which the largest change is shown
LESS, MORE = (0, 114, 178), (213, 94, 0)  # darker, brighter; distinct for the colour-blind too


class Pair(NamedTuple):
    """A clean image and its adversarial image, float32 `[H, W, C]` in [0, 1], with their row."""

    row: Row
    clean: np.ndarray
    adversarial: np.ndarray


def class_name(result: Result, label: int | None) -> str:
    """Return the name of a class; `not finite` for None, the prediction of logits that are not finite."""
    if label is None:
        return "not finite"
    classes = result.data.classes
    return classes[label] if label < len(classes) else f"class {label}"


def varied(labels: Sequence[int]) -> list[int]:
    """Return positions ordered so that one of each class comes before the second of any."""
    rank: dict[int, int] = {}
    order = []
    for at, label in enumerate(labels):
        rank[label] = rank.get(label, -1) + 1
        order.append((rank[label], label, at))
    return [at for _, _, at in sorted(order)]


def spread(broken: Sequence[Pair]) -> list[Pair]:
    """Return the pairs ordered so that one of each class comes before the second of any."""
    return [broken[at] for at in varied([pair.row.label for pair in broken])]


def amplified(clean: np.ndarray, adversarial: np.ndarray) -> tuple[np.ndarray, float]:
    """Draw the amplified difference of two images.

    Parameters
    ----------
    clean, adversarial : np.ndarray
        float32 `[H, W, C]` in [0, 1].

    Returns
    -------
    tuple of np.ndarray and float
        float32 `[H, W, 3]` in [0, 1], and the factor. For colour images, the difference around mid-grey. For grey
        images, white is unchanged, blue is darker and orange is brighter.
    """
    change = adversarial.astype(np.float64) - clean
    factor = AMPLITUDE / max(float(np.abs(change).max()), 1e-12)
    if change.shape[-1] != 1:
        return np.clip(0.5 + factor * change, 0, 1).astype(np.float32), factor
    share = factor / AMPLITUDE * change  # [H, W, 1] in [-1, 1]
    towards = np.where(share < 0, np.array(LESS), np.array(MORE)) / 255
    return (1 - np.abs(share) * (1 - towards)).astype(np.float32), factor


def png(image: np.ndarray) -> bytes:
    """Encode an image `[H, W, 1 or 3]` in [0, 1] as a PNG file of the same size."""
    from PIL import Image

    levels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
