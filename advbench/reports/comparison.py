"""Table and sentences of a comparison of two evaluations, with the images whose outcome changed."""

from __future__ import annotations

from collections.abc import Sequence

from advbench.evaluation.comparison import Comparison
from advbench.evaluation.paired import Difference
from advbench.reports.sheet import Note, Sheet

NAMED = 20  # most images named on a line
DIRECTIONS = {"lost": "robust before, not after", "won": "robust after, not before"}


def of_comparison(found: Comparison) -> Sheet:
    """Build the table of clean and robust accuracy before and after, with the images whose outcome changed."""
    before, after = found.before.model, found.after.model
    subject = f"{found.robust.n:,} {found.data} images ({found.images})"
    return Sheet(
        title=f"{before}, then {after}: {subject}, {found.threat.title}",
        header=("", "before", "after", "change", "95% interval", "p", "lost", "won"),
        rows=(_row("clean accuracy", found.clean), _row("robust accuracy", found.robust)),
        notes=(
            Note(
                "legend",
                "Change on the same images in percentage points, with its Tango interval and exact McNemar p-value.",
            ),
            *(Note("legend", f"{kind}: {images(getattr(found, kind))} ({DIRECTIONS[kind]})") for kind in DIRECTIONS),
            *(Note("note", f"note: {text}") for text in found.notes),
        ),
        needed=6,
        verdict=True,
    )


def sentence(found: Difference) -> str:
    """Return the difference of robust accuracy in one sentence."""
    sure = "more than chance explains" if found.p < 0.05 else "which chance may explain"
    change = f"{100 * found.change:+.1f} percentage points (95% interval {_bounds(found)})"
    counts = f"{found.lost:,} images lost, {found.won:,} won"
    return f"Robust accuracy changed by {change}, {sure} (p {_equals(found.p)}): {counts}."


def images(indices: Sequence[int]) -> str:
    """Return the number of images and the first indices, in words."""
    shown = ", ".join(map(str, indices[:NAMED]))
    more = len(indices) - NAMED
    return "none" if not indices else f"{len(indices):,} images: {shown}" + (f" and {more:,} more" if more > 0 else "")


def headline(found: Comparison) -> str:
    """Return both models, both shares and both counts in two short lines."""
    difference = found.robust
    shares = (f"{count / max(difference.n, 1):.1%} robust" for count in (difference.before, difference.after))
    told = " then ".join(
        f"{side.model} {share}" for side, share in zip((found.before, found.after), shares, strict=True)
    )
    return f"{told}\n{difference.lost:,} lost, {difference.won:,} won of {difference.n:,} (p {_equals(difference.p)})"


def p_value(p: float) -> str:
    """Return a p-value with three decimals, or `<0.001`."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _equals(p: float) -> str:
    text = p_value(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def _row(name: str, found: Difference) -> tuple[str, ...]:
    shares = (f"{count / found.n:.1%}" if found.n else "-" for count in (found.before, found.after))
    change = f"{100 * found.change:+.1f}"
    return name, *shares, change, _bounds(found), p_value(found.p), f"{found.lost:,}", f"{found.won:,}"


def _bounds(found: Difference) -> str:
    return f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
