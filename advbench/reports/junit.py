"""JUnit XML report of a gate: a test case per rule, in the dialect that Jenkins, GitLab and GitHub Actions read."""

from __future__ import annotations

from io import StringIO
from typing import Final
from xml.etree import ElementTree as ET

from rich.console import Console

from advbench.gating.verdict import Gate, Outcome, Verdict
from advbench.reports import gate_sheet
from advbench.reports.findings import check_of, unexplained
from advbench.reports.table import one_line, terminal

STATES: Final[dict[Verdict, str | None]] = {
    "pass": None,
    "fail": "failure",
    "inconclusive": "error",  # `skipped` would let the build pass
    "invalid": "error",
}
"""Element inside the test case, by verdict of its rule."""


def junit(gate: Gate) -> str:
    """Render a gate as a test suite; a rule that did not pass is a failure or an error, never skipped."""
    suite = ET.Element("testsuite", name=one_line(gate.model), time=f"{gate.seconds:.3f}")
    _properties(suite, _facts(gate))
    for outcome in gate.outcomes:
        suite.append(_case(outcome))
    if unexplained(gate):
        case = ET.SubElement(suite, "testcase", classname="advbench", name="gate", time="0")
        _state(case, gate.verdict, "gate", "no single rule explains this verdict: see the flags")
    ET.SubElement(suite, "system-out").text = _table(gate)
    counts = {
        "tests": len(suite.findall("testcase")),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": 0,
    }
    suites = ET.Element("testsuites", name="advbench gate", time=suite.attrib["time"])
    for element in (suite, suites):
        element.attrib.update({name: str(count) for name, count in counts.items()})
    suites.append(suite)
    ET.indent(suites)
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + ET.tostring(suites, encoding="unicode") + "\n"


def _table(gate: Gate) -> str:
    """Render the table as a terminal shows it."""
    text = StringIO()
    console = Console(file=text, width=120, color_system=None, force_terminal=False)
    for part in terminal(gate_sheet.of_gate(gate), console.width):
        console.print(part)
    return "\n" + "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _facts(gate: Gate) -> dict[str, object]:
    return {
        "verdict": gate.verdict,
        "exit_code": gate.exit_code,
        "images": gate.images,
        "population": gate.population,
        "error": gate.error,
        "seed": gate.seed,
        "baseline": gate.baseline,
    }


def _case(outcome: Outcome) -> ET.Element:
    place = {"file": one_line(outcome.place.file), "line": str(outcome.place.line)} if outcome.place else {}
    name = {"classname": f"advbench.{check_of(outcome)}", "name": one_line(gate_sheet.title(outcome)), "time": "0"}
    case = ET.Element("testcase", name | place)
    value, bounds, images = gate_sheet.measured(outcome)
    asked = gate_sheet.asked(outcome)
    _properties(case, {"asked": asked, "measured": value, "bounds": bounds, "images": images})
    _state(case, outcome.verdict, outcome.kind, outcome.message)
    return case


def _state(case: ET.Element, verdict: Verdict, kind: str, message: str) -> None:
    if (state := STATES[verdict]) is not None:
        line = one_line(message)
        ET.SubElement(case, state, type=f"{verdict}: {kind}", message=line).text = line


def _properties(parent: ET.Element, facts: dict[str, object]) -> None:
    element = ET.SubElement(parent, "properties")
    for name, value in facts.items():
        if value not in (None, ""):
            ET.SubElement(element, "property", name=name, value=one_line(str(value)))
