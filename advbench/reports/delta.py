"""Table of the difference between two gates of one configuration: a change against its base branch."""

from __future__ import annotations

from collections.abc import Callable

from advbench.evaluation.paired import Difference
from advbench.evaluation.result import Result, Row
from advbench.gating.verdict import Gate
from advbench.reports.sheet import Note, Sheet

HEADER = ("", "base", "here", "change", "95% interval", "lost", "won", "p")


def of_gates(gate: Gate, base: Gate) -> Sheet:
    """Build the table of clean and robust accuracy on the images that both gates evaluated, paired image by image.

    Parameters
    ----------
    gate, base : Gate
        The gate of the change and the gate of its base branch.

    Returns
    -------
    Sheet
        A row per threat; a note on each threat that can't be compared.
    """
    then = {str(result.threat): result for result in base.results}
    rows: list[tuple[str, ...]] = []
    notes = [Note("legend", "Same images, same attacks: Tango interval of the change, exact McNemar p-value.")]
    for result in gate.results:
        threat, before = str(result.threat), then.get(str(result.threat))
        differs = "the base gate lacks this threat" if before is None else _differs(result, before)
        if before is None or differs:
            notes.append(Note("note", f"{threat}: not compared: {differs}"))
            continue
        if not rows:
            rows.append(_row("clean accuracy", _paired(before, result, lambda row: row.clean_prediction == row.label)))
        rows.append(_row(threat, _paired(before, result, lambda row: row.robust)))
    return Sheet(f"Against the base: {base.verdict} there, {gate.verdict} here", HEADER, tuple(rows), tuple(notes), 4)


def _differs(here: Result, there: Result) -> str:
    """Return why two results can't be compared; an empty text if they can."""
    pairs = {
        "data sets": (f"{here.data.name} {here.data.split}", f"{there.data.name} {there.data.split}"),
        "attacks": tuple(", ".join(report.spec for report in result.attacks) for result in (here, there)),
        "seeds": (str(here.seed), str(there.seed)),
    }
    found = [f"{what} differ ({now} here, {then} there)" for what, (now, then) in pairs.items() if now != then]
    if not found and not _common(here, there):
        return "they have no image in common"
    return "; ".join(found)


def _common(here: Result, there: Result) -> list[tuple[Row, Row]]:
    """Return pairs of rows of the same image with the same label, the base first."""
    then = {(row.index, row.label): row for row in there.rows}
    return [(then[key], row) for row in here.rows if (key := (row.index, row.label)) in then]


def _paired(base: Result, here: Result, holds: Callable[[Row], bool]) -> Difference:
    pairs = _common(here, base)
    return Difference.of([holds(then) for then, _ in pairs], [holds(now) for _, now in pairs])


def _row(name: str, found: Difference) -> tuple[str, ...]:
    return (
        f"{name}, {found.n:,} images",
        f"{found.before / found.n:.1%}",
        f"{found.after / found.n:.1%}",
        f"{100 * found.change:+.1f}",
        f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
        f"{found.lost:,}",
        f"{found.won:,}",
        f"{found.p:.2g}",
    )
