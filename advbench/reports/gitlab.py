"""GitLab's code-quality report of a gate, which merge requests show beside the changed lines."""

from __future__ import annotations

import json
from typing import Final

from advbench.gating.verdict import Gate
from advbench.reports.findings import (
    ELSEWHERE,
    Finding,
    Level,
    findings,
)
from advbench.reports.table import one_line

SEVERITIES: Final[dict[Level, str]] = {"error": "critical", "warning": "minor", "note": "info"}


def gitlab(gate: Gate) -> str:
    """Render a gate as a JSON array, with an entry of severity `critical` if and only if the gate did not pass."""
    return json.dumps([_entry(finding) for finding in findings(gate)], indent=1) + "\n"


def _entry(finding: Finding) -> dict[str, object]:
    place = finding.place or ELSEWHERE
    return {
        "description": f"{finding.title}: {finding.message}",
        "check_name": f"advbench/{finding.check}",
        "fingerprint": finding.fingerprint,
        "severity": SEVERITIES[finding.level],
        "location": {"path": one_line(place.file).removeprefix("./"), "lines": {"begin": place.line}},
    }
