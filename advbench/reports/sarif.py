"""SARIF 2.1.0 report of a gate (OASIS, 2020) for code scanning: a result per rule that did not pass, and per flag."""

from __future__ import annotations

import json
from pathlib import PurePath, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from advbench import __version__
from advbench.gating.verdict import Gate, Place
from advbench.reports.findings import ELSEWHERE, Finding, findings
from advbench.reports.table import one_line

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST: Final = 1000  # results; GitHub shows at most 5,000 of a run

CHECKS: Final = {
    "min-robust": "Robust accuracy under this threat must reach its minimum.",
    "min-clean": "Accuracy on clean images must reach its minimum.",
    "max-drop": "Robust accuracy must not fall below the baseline's by more than allowed.",
    "min-class": "Robust accuracy of this class must reach its minimum.",
    "min-worst-class": "Robust accuracy of the worst class must reach its minimum.",
    "flags": "The evaluation must be free of flags that are not allowed.",
    "gate": "The gate must come to a verdict.",
}
HELP: Final = (
    "Fail: certain up to the gate's error rate; improve the model, or lower the threshold. "
    "Inconclusive: allow more time or images. Invalid: the numbers can't be trusted; see the flags."
)
HELP_FLAG: Final = "A flag says why the numbers may not be trustworthy: run `advbench doctor MODEL` for details."


def sarif(gate: Gate) -> str:
    """Render a gate as one run with a result per finding, of level `error` if and only if the gate did not pass."""
    found = findings(gate)
    shown = found[:MOST]
    invocation: dict[str, Any] = {
        "executionSuccessful": gate.verdict in ("pass", "fail"),
        "exitCode": gate.exit_code,
    }
    if left := len(found) - len(shown):
        said = {"level": "note", "message": {"text": f"{left} more findings are in the other reports of this gate."}}
        invocation["toolExecutionNotifications"] = [said]
    checks = list(dict.fromkeys(finding.check for finding in shown))
    run = {
        "tool": {"driver": {"name": "advbench", "version": __version__, "rules": [_rule(check) for check in checks]}},
        "automationDetails": {"id": f"advbench/{one_line(gate.model)}/"},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, checks) for finding in shown],
        "properties": {"verdict": gate.verdict, "images": gate.images, "population": gate.population},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(check: str) -> dict[str, Any]:
    flag = check.removeprefix("flag/")
    text = f"The evaluation carries the flag {flag}." if flag != check else CHECKS[check]
    return {
        "id": f"advbench/{check}",
        "shortDescription": {"text": text},
        "fullDescription": {"text": text},
        "help": {"text": HELP_FLAG if flag != check else HELP},
        "properties": {"tags": ["robustness"]},
    }


def _result(finding: Finding, checks: list[str]) -> dict[str, Any]:
    return {
        "ruleId": f"advbench/{finding.check}",
        "ruleIndex": checks.index(finding.check),
        "level": finding.level,
        "message": {"text": _plain(f"{finding.title}: {finding.message}")},
        "locations": [_location(finding.place or ELSEWHERE)],
        "partialFingerprints": {"advbenchRule/v1": finding.fingerprint},
    }


def _plain(message: str) -> str:
    """Break up `[text](target)` in a message, which readers of SARIF would show as a link."""
    return message.replace("](", "] (")


def _location(place: Place) -> dict[str, Any]:
    path = PurePosixPath(PurePath(place.file).as_posix())
    artifact = {"uri": f"file://{quote(str(path))}"} if path.is_absolute() else _relative(path)
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": place.line}}}


def _relative(path: PurePosixPath) -> dict[str, str]:
    return {"uri": quote(str(path)), "uriBaseId": "%SRCROOT%"}
