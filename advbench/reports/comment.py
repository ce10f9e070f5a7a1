"""Comment of a gate on a pull request: `python -m advbench.reports.comment GATE.json --base BASE.json`."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser
from pathlib import Path

from advbench.core.errors import AdvbenchError
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


def main(words: list[str] | None = None) -> int:
    """Print the comment; return exit code 0, or 2 if a file is not a gate."""
    parser = ArgumentParser(prog="python -m advbench.reports.comment", description=comment.__doc__)
    parser.add_argument("gate", type=Path, help="JSON report of this gate")
    parser.add_argument("--base", type=Path, help="JSON report of the base branch; ignored if the file is missing")
    parser.add_argument("--name", default="default", help="name of the gate, if a pull request has several")
    given = parser.parse_args(words)
    try:
        base = Gate.load(given.base) if given.base and given.base.exists() else None
        sys.stdout.write(comment(Gate.load(given.gate), base, given.name))
    except AdvbenchError as error:
        print(f"advbench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
