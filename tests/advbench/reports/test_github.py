"""What GitHub Actions is told: within its limits, and read back as its runner reads it."""

import pytest
from hypothesis import given, settings

from advbench.cli.github import publish
from advbench.core.errors import DataUnavailable
from advbench.core.flag import Flag
from advbench.gating.verdict import Place
from advbench.reports import github
from tests.advbench.reports.gates import HOSTILE, gate, gates, outcome, result

quick = settings(deadline=None, max_examples=100)


def parse(line):
    """A workflow command as the runner parses it: `::name key=value,...::message`, then unescaped."""
    assert line.startswith("::")
    head, _, message = line[2:].partition("::")
    name, _, properties = head.partition(" ")
    pairs = dict(pair.split("=", 1) for pair in properties.split(","))

    def plain(text, *more):
        for code, character in (*more, ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            text = text.replace(code, character)
        return text

    return name, {k: plain(v, ("%3A", ":"), ("%2C", ",")) for k, v in pairs.items()}, plain(message)


def read(text):
    """`$GITHUB_OUTPUT` as the runner reads it."""
    lines, found = iter(text.split("\n")), {}
    for line in lines:
        if not line:
            continue
        name, _, delimiter = line.partition("<<")
        value = []
        while (inner := next(lines)) != delimiter:
            value.append(inner)
        found[name] = "\n".join(value)
    return found


@quick
@given(gates())
def test_one_command_a_line_and_an_error_if_and_only_if_the_gate_did_not_pass(found):
    lines = github.commands(found)
    assert not any("\n" in line or "\r" in line for line in lines)
    commands = [parse(line) for line in lines]
    assert {name for name, _, _ in commands} <= {"error", "warning", "notice"}
    assert ("error" in {name for name, _, _ in commands}) == (found.exit_code != 0)
    assert all(set(properties) <= {"file", "line", "title"} for _, properties, _ in commands)


def test_annotations_stand_at_the_rule():
    place = Place(file="a,b:c%.toml", line=7)
    (line,) = github.commands(gate(outcome("fail", rule="100%: a, b", message="59%, not 60%", place=place)))
    assert parse(line) == (
        "error",
        {"file": "a,b:c%.toml", "line": "7", "title": "fail: 100%: a, b"},
        "59%, not 60%",
    )


@pytest.mark.parametrize(
    ("count", "shown", "last"), [(9, 9, "fail"), (10, 10, "fail"), (11, 10, "2 more"), (30, 10, "21 more")]
)
def test_at_most_ten_of_a_kind(count, shown, last):
    lines = github.commands(gate(*(outcome("fail", rule=f"rule {i}") for i in range(count))))
    assert len(lines) == shown
    assert last in lines[-1]


def test_kinds_are_counted_apart():
    flags = [
        Flag(name=f"f{i}", level=level, evidence={}, message="") for i in range(12) for level in ("note", "invalid")
    ]
    lines = github.commands(gate(outcome("fail"), results=[result(flags=flags)]))
    assert [line.split()[0] for line in lines] == ["::error"] + ["::warning"] * 10 + ["::notice"] * 10


def test_a_summary_fits_and_keeps_the_verdict():
    many = [outcome("fail", rule=f"rule {i}", message="ä" * 900) for i in range(1500)]
    text = github.summary(gate(*many))
    assert len(text.encode()) <= 1024 * 1024
    assert text.startswith("**Gate failed: net**")
    assert text.endswith("Cut here; the JSON report has all of it.\n")
    assert "Cut here" not in github.summary(gate(*many[:3]))


def test_outputs_are_read_back():
    found = gate(
        outcome("fail"), outcome("pass", "min_clean"), results=[result(robust=12), result(norm="l2", robust=4)]
    )
    assert read(github.assignments(github.outputs(found))) == {
        "verdict": "fail",
        "exit_code": "1",
        "images": "20",
        "rules": "2",
        "passed": "1",
        "robust_accuracy": "0.2",
        "clean_accuracy": "1.0",
    }


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_ends_its_own_assignment(value):
    assert read(github.assignments({"a": value, "b": "2"})) == {"a": value, "b": "2"}


@pytest.fixture
def runner(monkeypatch, tmp_path):
    """An environment like that of a step."""
    for name, file in (("GITHUB_STEP_SUMMARY", "summary"), ("GITHUB_OUTPUT", "output")):
        (tmp_path / file).write_text("before\n" if file == "summary" else "")
        monkeypatch.setenv(name, str(tmp_path / file))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return tmp_path


def test_publish_appends_and_leaves_stdout_alone(runner, capsys):
    publish(gate(outcome("fail")))
    assert (runner / "summary").read_text().startswith("before\n**Gate failed: net**")
    assert read((runner / "output").read_text())["verdict"] == "fail"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("::error file=advbench.toml,line=7,")


def test_outside_of_github_nothing_is_published(monkeypatch, capsys):
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    publish(gate(outcome("fail")))
    assert capsys.readouterr() == ("", "")


def test_a_summary_that_cant_be_written_is_one_line(runner, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(runner / "none" / "summary"))
    with pytest.raises(DataUnavailable, match="can't write to"):
        publish(gate(outcome("pass")))
