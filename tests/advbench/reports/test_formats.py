"""Whatever state a gate is in, and whatever things are called: every rendering parses, and tells the one verdict."""

import json
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings

from advbench.cli import gate_reports
from advbench.core.errors import DataUnavailable, UsageError
from advbench.gating.verdict import EXIT_CODES, Gate
from advbench.reports import formats, gate_sheet, table
from tests.advbench.reports.gates import HOSTILE, VERDICTS, gate, gates, outcome, result

quick = settings(deadline=None, max_examples=150)


def junit_verdict(text):
    """As a reader sees it who knows nothing but test cases."""
    suite = ET.fromstring(text).find("testsuite")
    cases = suite.findall("testcase")
    failures, errors = suite.findall("testcase/failure"), suite.findall("testcase/error")
    for element in (suite, ET.fromstring(text)):
        counts = [int(element.get(name)) for name in ("tests", "failures", "errors", "skipped")]
        assert counts == [len(cases), len(failures), len(errors), 0]
    found = {each.get("type").partition(":")[0] for each in failures + errors}
    assert {each.get("type").partition(":")[0] for each in failures} <= {"fail"}
    assert "fail" not in {each.get("type").partition(":")[0] for each in errors}
    return next((verdict for verdict in EXIT_CODES if verdict in found), "pass")


def sarif_verdict(text):
    run = json.loads(text)["runs"][0]
    errors = [each for each in run["results"] if each["level"] == "error"]
    found = {each["message"]["text"].partition(":")[0] for each in errors}
    verdict = next((verdict for verdict in EXIT_CODES if verdict in found), "pass")
    assert run["invocations"][0]["exitCode"] == EXIT_CODES[verdict]
    assert run["properties"]["verdict"] == verdict
    return verdict


def cells(markdown):
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.splitlines() if line.startswith("|")]


def markdown_verdict(text):
    header, _, *rules, total = cells(text)
    assert {len(row) for row in (header, *rules, total)} == {len(gate_sheet.HEADER)}
    verdict = total[1].strip()
    assert text.startswith(f"**Gate {gate_sheet.WORDS[verdict]}:")
    shown = {row[1].strip() for row in rules}
    if shown:
        assert next(each for each in EXIT_CODES if each in shown) == verdict
    return verdict


def gitlab_verdict(text):
    critical = [each for each in json.loads(text) if each["severity"] == "critical"]
    found = {each["description"].partition(":")[0] for each in critical}
    return next((verdict for verdict in EXIT_CODES if verdict in found), "pass")


@quick
@given(gates())
def test_every_rendering_tells_the_verdict_that_the_exit_code_tells(found):
    verdicts = {
        junit_verdict(formats.FORMATS["junit"](found)),
        sarif_verdict(formats.FORMATS["sarif"](found)),
        markdown_verdict(formats.FORMATS["markdown"](found)),
        gitlab_verdict(formats.FORMATS["gitlab"](found)),
        json.loads(formats.FORMATS["json"](found))["verdict"],
    }
    assert verdicts == {found.verdict}
    assert (found.exit_code == 0) == (verdicts == {"pass"})


@quick
@given(gates())
def test_every_rendering_is_whole_text(found):
    for name, render in formats.FORMATS.items():
        text = render(found)
        assert text.endswith("\n"), name
        assert text.encode()


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_verdict_alone(verdict):
    found = gate(outcome("pass", "min_clean"), outcome(verdict))
    assert found.verdict == verdict
    assert junit_verdict(formats.FORMATS["junit"](found)) == verdict
    assert ET.fromstring(formats.FORMATS["junit"](found)).get("tests") == "2"


def test_a_gate_without_rules_is_green_nowhere():
    found = gate()
    assert found.verdict == "inconclusive"
    assert junit_verdict(formats.FORMATS["junit"](found)) == "inconclusive"
    assert sarif_verdict(formats.FORMATS["sarif"](found)) == "inconclusive"
    assert gitlab_verdict(formats.FORMATS["gitlab"](found)) == "inconclusive"


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_command_a_build_log(name):
    """Of what people see in a log: the table, and the notes under it."""
    found = gate(outcome("fail", rule=name, message=name), model=name, results=[result(model=name)])
    for text in (formats.FORMATS["markdown"](found), table.one_line(name), table.printable(name)):
        assert not any(line.lstrip().startswith("::") for line in text.splitlines())
        assert "##[" not in text
        assert "\x1b" not in text
        assert "\r" not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_markup_in_markdown(name):
    text = formats.FORMATS["markdown"](gate(outcome("fail", rule=name, message=name), model=name))
    assert not re.search(r"(?<!\\)[<>`\[]", text)


def test_json_reads_back():
    found = gate(outcome("fail"), outcome("pass", "max_drop"))
    assert Gate.model_validate_json(formats.FORMATS["json"](found)) == found


def test_reports_are_read_before_anything_is_computed(tmp_path):
    assert gate_reports.wanted([f"junit={tmp_path}/a=b.xml"]) == [("junit", tmp_path / "a=b.xml")]
    for text, message in (
        ("junit", "FORMAT=FILE"),
        ("junit=", "FORMAT=FILE"),
        ("json=-", "give a file"),
        (f"juint={tmp_path}/a", "did you mean 'junit'"),
        (f"junit={tmp_path}/none/a", "does not exist or is not writable"),
        (f"junit={tmp_path}", "a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            gate_reports.wanted([text])
    with pytest.raises(UsageError, match="two reports"):
        gate_reports.wanted([f"junit={tmp_path}/a", f"json={tmp_path}/a"])


def test_one_report_that_fails_keeps_no_other_from_being_written(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    reports = gate_reports.wanted([f"junit={folder}/a.xml", f"json={tmp_path}/b.json"])
    folder.rmdir()
    with pytest.raises(DataUnavailable, match=r"a\.xml"):
        gate_reports.write_all(gate(outcome("fail")), reports)
    assert json.loads((tmp_path / "b.json").read_text())["verdict"] == "fail"
