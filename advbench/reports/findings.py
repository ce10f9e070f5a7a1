"""Findings of a gate, the same for every report format: rules that did not pass, and flags."""

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
"""Place for formats that need one, for rules given on the command line."""


@dataclass(frozen=True)
class Finding:
    """One finding of a gate. There is one of level `error` if and only if the gate did not pass.

    Attributes
    ----------
    level : {"error", "warning", "note"}
        Severity.
    check : str
        Kind of finding, like `min-robust` or `flag/under_converged`.
    title, message : str
        One line each, like `fail: min_robust linf 8/255`.
    fingerprint : str
        32 hexadecimal digits, the same for the same finding in every run.
    place : Place or None
        File and line of the rule.
    """

    level: Level
    check: str
    title: str
    message: str
    fingerprint: str
    place: Place | None


def findings(gate: Gate) -> list[Finding]:
    """List the findings of a gate: rules that did not pass, by precedence of verdict, then flags, invalid first."""
    failed = sorted((o for o in gate.outcomes if o.verdict != "pass"), key=lambda o: list(EXIT_CODES).index(o.verdict))
    found = [_of_outcome(gate, outcome) for outcome in failed]
    if unexplained(gate):
        message = "no single rule explains this verdict: see the flags" if gate.outcomes else "the gate has no rules"
        found.append(_finding(gate, "error", "gate", "gate", f"{gate.verdict}: gate", message))
    return found + sorted(_flags(gate), key=lambda finding: finding.level != "warning")


def unexplained(gate: Gate) -> bool:
    """Return whether the gate did not pass and no rule has the same verdict."""
    return gate.verdict not in {"pass", *(outcome.verdict for outcome in gate.outcomes)}


def _of_outcome(gate: Gate, outcome: Outcome) -> Finding:
    title = f"{outcome.verdict}: {outcome.rule}"
    return _finding(gate, "error", check_of(outcome), outcome.rule, title, outcome.message, outcome.place)


def check_of(outcome: Outcome) -> str:
    """Return the kind of a rule with hyphens, as other tools expect: `min-robust`."""
    return outcome.kind.replace("_", "-")


def _flags(gate: Gate) -> Iterator[Finding]:
    """Yield a finding per flag; an invalid flag is a warning here, since a rule reports it if it is not allowed."""
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
