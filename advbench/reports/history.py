"""Tables of a history of evaluations, one per series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advbench.evaluation.history import History, HistoryPoint
from advbench.reports.comparison import p_value
from advbench.reports.sheet import (
    Note,
    Sheet,
    interval,
    percent,
)

SHORT = 9  # characters of a commit
LEGEND = (
    "Robust accuracy with its 95% Wilson interval; change from the row above in percentage points, with its exact "
    "McNemar p-value, if both are on the same images."
)


def of_history(history: History) -> list[Sheet]:
    """Build a table for each series, in order of time."""
    return [
        Sheet(
            title=series.title,
            header=(
                *("started", "robust\naccuracy", "95% interval", "change", "p"),
                *("commit", "images", "clean\naccuracy", "remarks"),
            ),
            rows=tuple(_row(point) for point in series.points),
            notes=(Note("legend", LEGEND), *_doubts(series.points)),
            needed=4,
        )
        for series in history.series
    ]


def _doubts(points: Sequence[HistoryPoint]) -> Iterator[Note]:
    """Yield a note on invalid and on incomplete points, since the remarks column may be dropped."""
    for state, level in (("invalid", "invalid"), ("incomplete", "note")):
        if of := [point.commit[:SHORT] if point.commit else point.started for point in points if point.state == state]:
            yield Note(level, f"{state}: {', '.join(of)}")


def _row(point: HistoryPoint) -> tuple[str, ...]:
    change = point.change
    remarks = [*([point.state] if point.state != "complete" else []), *point.notes]
    return (
        point.started[:16].replace("T", " "),
        percent(point.robust),
        interval(point.robust),
        f"{100 * change.change:+.1f}" if change else "",
        p_value(change.p) if change else "",
        (point.commit or "")[:SHORT],
        f"{point.robust.n:,}",
        percent(point.clean),
        ", ".join(remarks),
    )
