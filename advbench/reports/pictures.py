"""Clean and adversarial images of a run, and pictures of their difference."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from advbench.core.images import pixels
from advbench.core.lazy import Images, choose
from advbench.evaluation.result import Result, Row

AMPLITUDE = 0.4  # distance from mid-grey at which the largest change is shown
LESS, MORE = (0, 114, 178), (213, 94, 0)  # darker, brighter; distinct for the colour-blind too


class Pair(NamedTuple):
    """A clean image and its adversarial image, float32 `[H, W, C]` in [0, 1], with their row."""

    row: Row
    clean: np.ndarray
    adversarial: np.ndarray


class Pairs:
    """Pairs whose images are read when a pair is requested: all of them might not fit in memory.

    Parameters
    ----------
    rows : sequence of Row
        Rows of the images, `[b]`.
    clean : Images
        Clean images, uint8 or float32 `[b, H, W, C]`.
    adversarial : Images
        Adversarial images, float32 `[b, H, W, C]`.
    """

    def __init__(self, rows: Sequence[Row], clean: Images, adversarial: Images):
        self.rows, self._clean, self._adversarial = rows, clean, adversarial

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> Pair:
        return Pair(self.rows[at], pixels(self._clean[at]), self._adversarial[at])

    def choose(self, positions: Iterable[int]) -> Pairs:
        """Select pairs without reading their images.

        Parameters
        ----------
        positions : iterable of int
            Positions in the order wanted.

        Returns
        -------
        Pairs
            The selection.
        """
        order = np.fromiter(positions, np.int64)
        return Pairs([self.rows[at] for at in order], choose(self._clean, order), choose(self._adversarial, order))


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


def spread(broken: Pairs, most: int) -> list[Pair]:
    """Read the first pairs, at most so many, of an order in which one of each class comes before the second of any."""
    chosen = broken.choose(varied([row.label for row in broken.rows])[:most])
    return [chosen[at] for at in range(len(chosen))]


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
