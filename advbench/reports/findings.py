"""What a gate has to say besides its numbers: the rules that did not pass, and flags; every log says the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from advbench.gating.verdict import (
    EXIT_CODES,
    Gate,
    Outcome,
    Place,
)
from advbench.reports.table import one_line

Level = Literal["error", "warning", "note"]

ELSEWHERE: Final = Place(file="advbench.toml")
"""Where rules usually stand, for formats that must name a place when rules were given on the command line."""


@dataclass(frozen=True)
class Finding:
    """One thing to look at. There is one of level `error` if and only if the gate did not pass."""

    level: Level
    check: str  # the kind of thing, from a small set: "min-robust", "flag/under_converged"
    title: str  # in one line, like "fail: min_robust linf 8/255"
    message: str  # in one line
    fingerprint: str  # the same from run to run: 32 hexadecimal digits
    place: Place | None


def findings(gate: Gate) -> list[Finding]:
    """Errors first, in the verdicts' order of precedence; then flags, those that invalidate first."""
    failed = sorted((o for o in gate.outcomes if o.verdict != "pass"), key=lambda o: list(EXIT_CODES).index(o.verdict))
    found = [_of_outcome(gate, outcome) for outcome in failed]
    if unexplained(gate):
        message = "no rule explains it; see the flags" if gate.outcomes else "there was no rule to decide"
        found.append(_finding(gate, "error", "gate", "gate", f"{gate.verdict}: gate", message))
    return found + sorted(_flags(gate), key=lambda finding: finding.level != "warning")


def unexplained(gate: Gate) -> bool:
    """Whether the gate did not pass, and no rule says why."""
    return gate.verdict not in {"pass", *(outcome.verdict for outcome in gate.outcomes)}


def _of_outcome(gate: Gate, outcome: Outcome) -> Finding:
    title = f"{outcome.verdict}: {outcome.rule}"
    return _finding(gate, "error", check_of(outcome), outcome.rule, title, outcome.message, outcome.place)


def check_of(outcome: Outcome) -> str:
    """The kind of rule as other tools like to read it: `min-robust`."""
    return outcome.kind.replace("_", "-")


def _flags(gate: Gate) -> Iterator[Finding]:
    """An invalid flag is no error here: if it was not allowed, a rule says so."""
    for result in gate.results:
        for flag in result.flags:
            level: Level = "warning" if flag.level == "invalid" else "note"
            name = f"{flag.name} ({result.threat})"
            yield _finding(gate, level, f"flag/{flag.name}", name, f"{flag.level}: {name}", flag.message)


def _finding(
    gate: Gate, level: Level, check: str, subject: str, title: str, message: str, place: Place | None = None
) -> Finding:
    fingerprint = sha256("\0".join((gate.model, check, subject)).encode()).hexdigest()[:32]
    return Finding(level, one_line(check, 100), one_line(title, 200), one_line(message), fingerprint, place)
