"""Tables of a history of evaluations, one per series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from advbench.core.errors import UsageError
from advbench.evaluation.history import History, Point, Told
from advbench.gating.verdict import Gate
from advbench.reports.comparison import p_value
from advbench.reports.sheet import (
    Note,
    Sheet,
    interval,
    percent,
)
from advbench.reports.sources import parse

SHORT = 9  # characters of a commit
LEGEND = (
    "Robust accuracy with its 95% Wilson interval; change from the row above in percentage points, with its exact "
    "McNemar p-value, if both are on the same images."
)


def collect(folder: Path) -> tuple[list[Told], list[str]]:
    """Collect all results below a folder, those of gates included.

    Parameters
    ----------
    folder : Path
        The folder, searched with all its subfolders.

    Returns
    -------
    tuple of list of Told and list of str
        The results, and an error message for each result file that can't be read.

    Raises
    ------
    UsageError
        When it is not a folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give the folder of your results")
    found: list[Told] = []
    problems = []
    for path in sorted(folder.rglob("*.json")):
        try:
            for each in parse(path) if path.is_file() else ():
                results, remark = (each.results, f"gate: {each.verdict}") if isinstance(each, Gate) else ((each,), "")
                found += [Told(path, result, remark) for result in results]
        except UsageError as error:
            if _ours(path):
                problems.append(str(error))
    return found, problems


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


def _ours(path: Path) -> bool:
    """Return whether an unreadable file claims to be a result."""
    if path.name == "result.json":
        return True
    try:
        return b'"schema_version"' in path.read_bytes()
    except OSError:
        return False


def _doubts(points: Sequence[Point]) -> Iterator[Note]:
    """Yield a note on invalid and on incomplete points, since the remarks column may be dropped."""
    for state, level in (("invalid", "invalid"), ("incomplete", "note")):
        if of := [point.commit[:SHORT] if point.commit else point.started for point in points if point.state == state]:
            yield Note(level, f"{state}: {', '.join(of)}")


def _row(point: Point) -> tuple[str, ...]:
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
