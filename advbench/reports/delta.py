"""How two gates of one configuration differ: this change against the branch that it is for."""

from __future__ import annotations

from collections.abc import Callable

from advbench.evaluation.paired import Difference
from advbench.evaluation.result import Result, Row
from advbench.gating.verdict import Gate
from advbench.reports.sheet import Note, Sheet

HEADER = ("", "base", "here", "change", "95% interval", "lost", "won", "p")


def of_gates(gate: Gate, base: Gate) -> Sheet:
    """Clean and robust accuracy on the images that both looked at, paired image by image."""
    then = {str(result.threat): result for result in base.results}
    rows: list[tuple[str, ...]] = []
    notes = [Note("legend", "Same images, same attacks: exact McNemar p, Tango interval of the change.")]
    for result in gate.results:
        threat, before = str(result.threat), then.get(str(result.threat))
        differs = "the base has no such threat" if before is None else _differs(result, before)
        if before is None or differs:
            notes.append(Note("note", f"{threat}: not compared: {differs}"))
            continue
        if not rows:
            rows.append(_row("clean", _paired(before, result, lambda row: row.clean_prediction == row.label)))
        rows.append(_row(threat, _paired(before, result, lambda row: row.robust)))
    return Sheet(f"Against the base: {base.verdict} there, {gate.verdict} here", HEADER, tuple(rows), tuple(notes), 4)


def _differs(here: Result, there: Result) -> str:
    """What keeps two results from being compared, in words; nothing if they can be."""
    pairs = {
        "data sets": (f"{here.data.name} {here.data.split}", f"{there.data.name} {there.data.split}"),
        "attacks": tuple(", ".join(report.spec for report in result.attacks) for result in (here, there)),
        "seeds": (str(here.seed), str(there.seed)),
    }
    found = [f"{what} differ ({now} here, {then} there)" for what, (now, then) in pairs.items() if now != then]
    if not found and not _common(here, there):
        return "no image was looked at by both"
    return "; ".join(found)


def _common(here: Result, there: Result) -> list[tuple[Row, Row]]:
    """Rows of the same image, with the same label: base first."""
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
