"""Report of a gate to GitHub Actions: summary of the step, annotations at the rules, outputs for later steps."""

from __future__ import annotations

from collections import Counter
from typing import Final
from uuid import uuid4

from advbench.gating.verdict import Gate
from advbench.reports import gate_sheet
from advbench.reports.findings import Finding, Level, findings
from advbench.reports.table import markdown

COMMANDS: Final[dict[Level, str]] = {"error": "error", "warning": "warning", "note": "notice"}
MOST: Final = 10  # annotations of each kind that GitHub shows of a step
SUMMARY_BYTES: Final = 1024 * 1024 - 1024  # a larger one is refused whole; a little stays free for other tools


def summary(gate: Gate) -> str:
    """Render the table of the gate as Markdown, within the size limit of a summary."""
    return within(markdown(gate_sheet.of_gate(gate)), SUMMARY_BYTES)


def commands(gate: Gate) -> list[str]:
    """Return workflow commands, at most ten of each kind; the last one of a kind gives the number left out."""
    lines: list[str] = []
    found = findings(gate)
    left = Counter(finding.level for finding in found)
    shown: Counter[Level] = Counter()
    for finding in found:
        kind = finding.level
        if shown[kind] == MOST - 1 and left[kind] > 1:
            lines.append(f"::{COMMANDS[kind]} title=advbench::{left[kind]} more are in the summary")
        elif shown[kind] < MOST:
            lines.append(_annotation(finding))
        shown[kind] += 1
        left[kind] -= 1
    return lines


def outputs(gate: Gate) -> dict[str, str]:
    """Return the outputs for later steps; accuracies are fractions, the lowest of several threats."""
    told = {
        "verdict": gate.verdict,
        "exit_code": str(gate.exit_code),
        "images": str(gate.images),
        "rules": str(len(gate.outcomes)),
        "passed": str(sum(outcome.verdict == "pass" for outcome in gate.outcomes)),
    }
    if gate.results:
        told["robust_accuracy"] = str(min(result.robust.accuracy for result in gate.results))
        told["clean_accuracy"] = str(min(result.clean.accuracy for result in gate.results))
    return told


def assignments(values: dict[str, str]) -> str:
    """Return the lines for `$GITHUB_OUTPUT`, with random delimiters that no value can contain."""
    delimiter = f"advbench-{uuid4()}"
    return "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items())


def within(text: str, most: int) -> str:
    """Cut a text after a line so that it has at most `most` bytes, and append a remark if it was cut."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    note = "\n\nCut here; the JSON report has all of it.\n"
    kept = raw[: most - len(note)].decode(errors="ignore")
    return kept[: kept.rfind("\n")] + note


def _annotation(finding: Finding) -> str:
    properties = {"title": finding.title}
    if finding.place:
        properties = {"file": finding.place.file, "line": str(finding.place.line), **properties}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{COMMANDS[finding.level]} {told}::{_data(finding.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
