"""Table of `advbench data inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from advbench.reports.sheet import Note, Sheet

if TYPE_CHECKING:
    from advbench.data.overview import Overview

SHOWN = 10  # entries named; the others are counted


def of_overviews(path: str, kind: str, found: Sequence[Overview]) -> Sheet:
    """Build the table of a data set: a row per split, with notes on faults below."""
    rows = tuple(
        (
            each.split,
            f"{each.images:,}",
            f"{len(each.counts):,}",
            next(iter(each.sizes)) if len(each.sizes) == 1 else f"{len(each.sizes):,} sizes",
            f"{each.low} to {each.high}" if each.images else "",
            each.digest[:12],
        )
        for each in found
    )
    notes = [Note("legend", "Pixels range from 0 to 255; sha256 is over all images and labels.")]
    notes += [Note(level, f"{each.split}: {text}") for each in found for level, text in _told(each)]
    return Sheet(
        title=f"{path}: {kind}",
        header=("split", "images", "classes", "size", "pixels", "sha256"),
        rows=rows,
        notes=tuple(notes),
        needed=4,
    )


def _told(each: Overview) -> Iterator[tuple[str, str]]:
    yield "legend", ", ".join(_some([f"{name} {n:,}" for name, n in each.counts.items()], 2 * SHOWN))
    if len(each.sizes) > 1:
        sizes = ", ".join(_some([f"{n:,} of {size}" for size, n in each.sizes.items()]))
        yield "note", f"images differ in size ({sizes}): declare one size, like --resize 256 --crop 224"
    for note in each.notes:
        yield "note", note
    if each.twice:
        yield "note", f"{each.twice:,} images are duplicates of others in this split"
    for other, names in each.elsewhere.items():
        yield "note", f"{len(names):,} images are also in {other}: {', '.join(_some(names))}"
    if each.undeclared:
        yield "invalid", f"{len(each.undeclared):,} images can't be used unchanged: {'; '.join(_some(each.undeclared))}"
    if each.corrupt:
        yield "invalid", f"{len(each.corrupt):,} images can't be read: {'; '.join(each.corrupt)}"


def _some(names: Sequence[str], most: int = SHOWN) -> list[str]:
    return [*names[:most], *([f"and {len(names) - most:,} more"] if len(names) > most else [])]
