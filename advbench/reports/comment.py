"""The comment that a gate leaves at a pull request."""

from __future__ import annotations

import re

from advbench.gating.verdict import Gate
from advbench.reports import delta, gate_sheet
from advbench.reports.github import within
from advbench.reports.table import markdown

MOST = 65_000  # bytes; GitHub takes 65,536 characters


def marker(name: str) -> str:
    """A line that readers don't see, by which the comment is found again."""
    return f"<!-- advbench-gate: {re.sub(r'[^a-zA-Z0-9.]+', '-', name)[:80]} -->"


def comment(gate: Gate, base: Gate | None, name: str) -> str:
    """The gate's table and, if the base branch has a gate to compare with, what changed."""
    table = markdown(gate_sheet.of_gate(gate))
    change = markdown(delta.of_gates(gate, base)) if base else "There is no gate of the base branch to compare with.\n"
    return within(f"{marker(name)}\n{_quiet(table)}\n{_quiet(change)}", MOST)


def _quiet(text: str) -> str:
    """No name may call people or other issues."""
    return re.sub(r"[@#](?=\w)", lambda found: f"{found[0]}<!-- -->", text)
