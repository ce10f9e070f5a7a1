"""SARIF and GitLab's code quality: closed structures, stable fingerprints, places that scanners accept."""

import json
import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings

from advbench.core.flag import Flag
from advbench.gating.verdict import Place
from advbench.reports import sarif
from advbench.reports.findings import ELSEWHERE
from advbench.reports.formats import FORMATS
from tests.advbench.reports.gates import gate, gates, outcome, result

quick = settings(deadline=None, max_examples=100)

# Of SARIF 2.1.0 (sections 3.13 to 3.52) what is used: per object its properties, those that must be there first.
MESSAGE = {"text": str}
REGION = {"startLine": int}
ARTIFACT = {"uri": str, "uriBaseId?": str}
LOCATION = {"physicalLocation": {"artifactLocation": ARTIFACT, "region": REGION}}
RESULT = {
    "ruleId": str,
    "ruleIndex": int,
    "level": ("none", "note", "warning", "error"),
    "message": MESSAGE,
    "locations": [LOCATION],
    "partialFingerprints": {"advbenchRule/v1": str},
}
RULE = {
    "id": str,
    "shortDescription": MESSAGE,
    "fullDescription": MESSAGE,
    "help": MESSAGE,
    "properties": {"tags": [str]},
}
NOTIFICATION = {"level": ("none", "note", "warning", "error"), "message": MESSAGE}
RUN = {
    "tool": {"driver": {"name": str, "version": str, "rules": [RULE]}},
    "automationDetails": {"id": str},
    "invocations": [{"executionSuccessful": bool, "exitCode": int, "toolExecutionNotifications?": [NOTIFICATION]}],
    "columnKind": ("utf16CodeUnits", "unicodeCodePoints"),
    "results": [RESULT],
    "properties": {"verdict": str, "images": int, "population": int},
}
LOG = {"$schema": str, "version": ("2.1.0",), "runs": [RUN]}


def conforms(value, shape, where="log"):
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        needed = {key for key in shape if not key.endswith("?")}
        assert needed <= value.keys() <= {key.rstrip("?") for key in shape}, where
        for key, inner in shape.items():
            if key.rstrip("?") in value:
                conforms(value[key.rstrip("?")], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for at, each in enumerate(value):
            conforms(each, shape[0], f"{where}[{at}]")
    elif isinstance(shape, tuple):
        assert value in shape, where
    else:
        assert isinstance(value, shape), where


@quick
@given(gates())
def test_sarif_has_the_structure_of_the_standard(found):
    log = json.loads(FORMATS["sarif"](found))
    conforms(log, LOG)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for each in run["results"]:
        assert rules[each["ruleIndex"]] == each["ruleId"]
        place = each["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] >= 1
        assert re.fullmatch(r"[\w.~/%!$&'()*+,;=:@-]+", place["artifactLocation"]["uri"], re.ASCII)
        assert "](" not in each["message"]["text"]


def test_only_what_did_not_pass_is_a_result_errors_first():
    flags = [
        Flag(name="under_converged", level="invalid", evidence={}, message="still falling"),
        Flag(name="randomised", level="note", evidence={}, message="20 draws"),
    ]
    found = gate(
        outcome("pass", "min_clean"),
        outcome("inconclusive", "min_robust"),
        outcome("invalid", "flags", message="under_converged"),
        outcome("fail", "min_worst_class"),
        results=[result(flags=flags[::-1])],
    )
    (run,) = json.loads(FORMATS["sarif"](found))["runs"]
    assert [(each["ruleId"].removeprefix("advbench/"), each["level"]) for each in run["results"]] == [
        ("flags", "error"),
        ("min-worst-class", "error"),
        ("min-robust", "error"),
        ("flag/under_converged", "warning"),
        ("flag/randomised", "note"),
    ]
    assert run["invocations"] == [{"executionSuccessful": False, "exitCode": 3}]
    severities = [each["severity"] for each in json.loads(FORMATS["gitlab"](found))]
    assert severities == ["critical", "critical", "critical", "minor", "info"]


def test_an_allowed_flag_is_no_error():
    flag = Flag(name="under_converged", level="invalid", evidence={}, message="allowed")
    found = gate(outcome("pass", "flags"), results=[result(flags=[flag])])
    (run,) = json.loads(FORMATS["sarif"](found))["runs"]
    assert [each["level"] for each in run["results"]] == ["warning"]


@pytest.mark.parametrize(
    ("file", "uri", "base"),
    [
        ("advbench.toml", "advbench.toml", "%SRCROOT%"),
        ("./sub dir/ä#?.toml", "sub%20dir/%C3%A4%23%3F.toml", "%SRCROOT%"),
        ("/etc/advbench.toml", "file:///etc/advbench.toml", None),
    ],
)
def test_places_are_uris(file, uri, base):
    found = gate(outcome("fail", place=Place(file=file, line=3)))
    location = json.loads(FORMATS["sarif"](found))["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == uri
    assert location["artifactLocation"].get("uriBaseId") == base
    assert unquote(urlsplit(uri).path).endswith(file.removeprefix("./"))
    assert location["region"] == {"startLine": 3}


def test_a_rule_from_the_command_line_is_placed_where_rules_usually_stand():
    found = gate(outcome("fail", place=None))
    location = json.loads(FORMATS["sarif"](found))["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == ELSEWHERE.file
    assert json.loads(FORMATS["gitlab"](found))[0]["location"] == {"path": ELSEWHERE.file, "lines": {"begin": 1}}


def test_fingerprints_follow_the_rule_not_the_numbers():
    def prints(found):
        (run,) = json.loads(FORMATS["sarif"](found))["runs"]
        return [each["partialFingerprints"]["advbenchRule/v1"] for each in run["results"]]

    a, b = outcome("fail", rule="a", message="59%"), outcome("fail", rule="b", message="61%")
    moved = outcome("inconclusive", rule="a", message="62%", place=Place(file="advbench.toml", line=99))
    assert prints(gate(a)) == prints(gate(moved))
    assert len(set(prints(gate(a, b)) + prints(gate(a, model="other")))) == 3
    assert [each["fingerprint"] for each in json.loads(FORMATS["gitlab"](gate(a, b)))] == prints(gate(a, b))


def test_many_results_are_cut_the_errors_kept(monkeypatch):
    monkeypatch.setattr(sarif, "MOST", 3)
    flags = [Flag(name=f"flag{i}", level="note", evidence={}, message="") for i in range(5)]
    (run,) = json.loads(sarif.sarif(gate(outcome("fail"), results=[result(flags=flags)])))["runs"]
    assert [each["level"] for each in run["results"]] == ["error", "note", "note"]
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].startswith("3 more findings")
    assert len(run["tool"]["driver"]["rules"]) == 3


@quick
@given(gates())
def test_gitlab_gets_what_its_widget_needs(found):
    for each in json.loads(FORMATS["gitlab"](found)):
        assert each.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert each["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert re.fullmatch(r"[0-9a-f]{32}", each["fingerprint"])
        assert each["location"]["lines"]["begin"] >= 1
        assert "\n" not in each["description"]
