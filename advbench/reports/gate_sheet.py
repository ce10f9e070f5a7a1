"""Table of a gate: a row per rule, then the verdict."""

from __future__ import annotations

from typing import Final

from advbench.gating.verdict import (
    Gate,
    Measured,
    Outcome,
    Verdict,
)
from advbench.reports.findings import findings
from advbench.reports.sheet import Note, Sheet

HEADER = ("rule", "verdict", "threshold", "measured", "bounds", "images")
WORDS: Final[dict[Verdict, str]] = {
    "pass": "passed",
    "fail": "failed",
    "inconclusive": "inconclusive",
    "invalid": "invalid",
}
STYLES: Final = {"error": "invalid", "warning": "note", "note": "note"}  # level of a note by level of the finding


def of_gate(gate: Gate) -> Sheet:
    """Build the table of a gate: a row per rule and one for the verdict; below, what did not pass, and why."""
    total = ("gate", gate.verdict, "", "", "", f"{gate.images:,}/{gate.population:,}")
    return Sheet(
        title=f"Gate {WORDS[gate.verdict]}: {gate.model}",
        header=HEADER,
        rows=(*map(_row, gate.outcomes), total),
        notes=(
            *([Note("legend", _legend(gate))] if gate.outcomes else []),
            *(Note(STYLES[found.level], f"{found.title}: {found.message}") for found in findings(gate)),
        ),
        needed=4,
        verdict=True,
    )


def title(outcome: Outcome) -> str:
    """Return the rule, with its class if the rule's text does not name it."""
    named = outcome.class_name is None or outcome.class_name in outcome.rule
    return outcome.rule if named else f"{outcome.rule} ({outcome.class_name})"


def asked(outcome: Outcome) -> str:
    """Return the threshold in words: `>= 40%`, `<= 2%` for a drop, empty for flags."""
    if outcome.threshold is None:
        return ""
    return f"{'<=' if outcome.kind == 'max_drop' else '>='} {exact(outcome.threshold)}"


def measured(outcome: Outcome) -> tuple[str, str, str]:
    """Return value, bounds and number of images in words; for `max_drop` the accuracy lost."""
    if (difference := outcome.difference) is not None:
        lost = f"{-100 * difference.high:.1f} to {-100 * difference.low:.1f}"
        return f"{-100 * difference.change + 0:.1f}%", lost, f"{difference.n:,}"
    if (found := outcome.measured) is None:
        return "-", "", ""
    places = decimals(found)
    bounds = f"{100 * found.low:.{places}f}-{100 * found.high:.{places}f}"
    return f"{found.value:.{places}%}", bounds, f"{found.n:,}/{found.population:,}"


def exact(share: float) -> str:
    """Return a threshold in percent without rounding noise: 0.4 is `40%`, 0.855 is `85.5%`."""
    return f"{100 * share:.6g}%"


def decimals(found: Measured) -> int:
    """Return the number of decimals of a percentage: 2 for more than 1,000 images, else 1."""
    return 2 if found.n > 1000 else 1


def _row(outcome: Outcome) -> tuple[str, ...]:
    value, bounds, images = measured(outcome)
    return title(outcome), outcome.verdict, asked(outcome), value, bounds, images


def _legend(gate: Gate) -> str:
    methods = dict.fromkeys(o.measured.method for o in gate.outcomes if o.measured)
    how = f" ({'; '.join(methods)})" if methods else ""
    paired = (
        " A drop compares with the same images in the baseline." if any(o.difference for o in gate.outcomes) else ""
    )
    return (
        f"The probability that any pass or fail is wrong is at most {exact(gate.error)}, over all rules{how}.{paired}"
    )
