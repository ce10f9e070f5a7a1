"""The comment that a gate leaves at a pull request."""

from __future__ import annotations

import re

from advbench.gating.verdict import Gate
from advbench.reports import delta, gate_sheet
from advbench.reports.github import within
from advbench.reports.table import markdown

MOST = 65_000  # bytes; GitHub takes 65,536 characters


def marker(name: str) -> str:
    """Return an invisible line that identifies the comment, so that it can be updated."""
    return f"<!-- advbench-gate: {re.sub(r'[^a-zA-Z0-9.]+', '-', name)[:80]} -->"


def comment(gate: Gate, base: Gate | None, name: str) -> str:
    """Render the table of a gate and the change against the gate of the base branch, if there is one."""
    table = markdown(gate_sheet.of_gate(gate))
    change = markdown(delta.of_gates(gate, base)) if base else "The base branch has no gate to compare with.\n"
    return within(f"{marker(name)}\n{_quiet(table)}\n{_quiet(change)}", MOST)


def _quiet(text: str) -> str:
    """Break up `@name` and `#1`, so that no name in a table mentions people or links issues."""
    return re.sub(r"[@#](?=\w)", lambda found: f"{found[0]}<!-- -->", text)
