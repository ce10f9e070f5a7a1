"""Gallery of adversarial images, embedded in the page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from advbench.core.errors import AdvbenchError
from advbench.evaluation.result import Result
from advbench.reports.pictures import (
    Pair,
    Pairs,
    amplified,
    class_name,
    png,
    spread,
)
from advbench.reports.sources import StoredRun

SHOWN = 24  # most images per run
BYTES = 750_000  # of all pictures in a page; base64 makes a million characters of them


Finder = Callable[..., Pairs]
"""Finds the images of a run that an attack broke, or of those the ones of given numbers; raises AdvbenchError."""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with a description and a caption."""

    source: str
    text: str
    caption: str


@dataclass(frozen=True)
class ImageCard:
    """One image: clean, adversarial, and the change between them."""

    title: str
    pictures: tuple[Picture, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Cards, and a note on images that are not shown."""

    cards: tuple[ImageCard, ...]
    note: str


class SizeLimit:
    """Limit on the bytes of all pictures in a page."""

    def __init__(self, size: int = BYTES):
        self.left = size

    def takes(self, size: int) -> bool:
        """Reserve `size` bytes if they fit, and return whether they do."""
        self.left -= size if (fits := size <= self.left) else 0
        return fits


def of_run(run: StoredRun, budget: SizeLimit, images: Finder) -> Gallery:
    """Build the gallery of a run: images that an attack broke, of as many classes as possible."""
    try:
        broken = images(run)
        if len(broken):
            return of_pairs(run.result, broken, budget)
    except AdvbenchError as error:
        return Gallery((), f"No pictures: {error}.")
    return Gallery((), "No pictures: no attack broke an image.")


def of_pairs(result: Result, broken: Pairs, budget: SizeLimit) -> Gallery:
    """Build a gallery of images of as many classes as possible, as far as they fit."""
    cards = []
    for pair in spread(broken, SHOWN):
        card, size = _card(result, pair)
        if not budget.takes(size):
            break
        cards.append(card)
    return Gallery(tuple(cards), f"{len(cards):,} of the {len(broken):,} images that an attack broke.")


def _card(result: Result, pair: Pair) -> tuple[ImageCard, int]:
    row = pair.row
    label, before, after = (class_name(result, k) for k in (row.label, row.clean_prediction, row.prediction))
    change, factor = amplified(pair.clean, pair.adversarial)
    shown = (
        (pair.clean, f"Image {row.index}, clean", f"predicted {before}"),
        (pair.adversarial, f"Image {row.index}, adversarial", f"predicted {after}"),
        (change, f"Image {row.index}, change", f"change × {factor:.3g}"),  # noqa: RUF001 - it multiplies
    )
    files = [png(image) for image, _, _ in shown]
    pictures = tuple(
        Picture(f"data:image/png;base64,{b64encode(file).decode()}", f"{text}, {caption}", caption)
        for file, (_, text, caption) in zip(files, shown, strict=True)
    )
    distance = f"at {row.distance:.4g} ({result.threat.norm})" if row.distance is not None else ""
    facts = tuple(filter(None, (f"broken by {row.broken_by}", distance)))
    return ImageCard(f"{label} (image {row.index})", pictures, facts), sum(map(len, files))
