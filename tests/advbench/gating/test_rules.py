"""What may be written, what may not, and that every problem is told with file and line."""

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest

from advbench.attacks import NORMS
from advbench.core.errors import UsageError
from advbench.gating.rules import (
    GateRules,
    accuracy,
    json_schema,
    rules_of,
)
from advbench.gating.source import discover, line_numbers, read

ROOT = Path(__file__).parents[3]
GOOD = """\
[gate]
model = "mnist-pgd"   # [not a table]
min-clean = "95%"

[[gate.threats]]
norm = "linf"
eps = "8/255"
min-robust = 0.4
min-class = { cat = "20%", "big dog" = "10%" }

[[gate.threats]]
norm = "l2"
eps = 0.5
min-worst-class = "12.5 %"
"""


@pytest.fixture
def write(tmp_path):
    def to(text, name="advbench.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to


@pytest.mark.parametrize(
    ("typed", "share"),
    [("40%", "2/5"), ("40 %", "2/5"), ("0.1%", "1/1000"), (0.4, "2/5"), ("0.4", "2/5"), (".4", "2/5"), ("100%", "1")],
)
def test_accuracies_are_exactly_what_was_typed(typed, share):
    assert accuracy(typed) == Fraction(share)


@pytest.mark.parametrize(
    "typed", [40, "40", 1, 1.0, "1", "1.0", True, None, -0.1, "101%", "4e1", float("nan"), "%", [], "9" * 5000]
)
def test_what_can_be_read_in_two_ways_is_no_accuracy(typed):
    with pytest.raises(ValueError, match="%"):
        accuracy(typed)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
def test_every_rule_knows_its_line(write, mark):
    gate, source = read(write(mark + GOOD.encode()), {})
    lines = {(rule.kind, rule.threat, rule.class_name): source.place(rule.at).line for rule in rules_of(gate)}
    assert lines == {
        ("min_clean", None, None): 3,
        ("min_robust", 0, None): 8,
        ("min_class", 0, "cat"): 9,
        ("min_class", 0, "big dog"): 9,
        ("min_worst_class", 1, None): 14,
    }
    assert [str(threat) for threat in gate.threats] == ["linf 8/255", "l2 0.5"]


def test_lines_of_sub_tables_belong_to_the_last_of_an_array():
    lines = line_numbers('[[gate.threats]]\neps = "1"\n[[gate.threats]]\n[gate.threats.min-class]\n"a.b" = 1\n')
    assert lines["gate", "threats", 0, "eps"] == 2
    assert lines["gate", "threats", 1, "min-class"] == 4


def test_what_is_typed_goes_before_what_is_written(write):
    gate, _ = read(write(GOOD), {"model": "other", "seed": 7})
    assert (gate.model, gate.seed) == ("other", 7)


@pytest.mark.parametrize(
    ("line", "instead", "parts"),
    [
        ("min-robust = 0.4", "min-robst = 0.4", [":8:", "'min-robst'", "'min-robust'"]),
        ("min-robust = 0.4", "min-robust = 40", [":8:", '"40%"']),
        ('min-clean = "95%"', 'min_clean = "95%"', [":3:", "'min-clean'"]),
        ('min-clean = "95%"', "seed = -1", [":3:", "seed", "greater than or equal to 0"]),
        ('min-clean = "95%"', 'seed = "1"', [":3:", "seed", "'1'", "integer"]),
        ('min-clean = "95%"', "error-rate = 0.0", [":3:", "error-rate"]),
        ('min-clean = "95%"', "error = 0.0", [":3:", "error-rate"]),
        ('min-clean = "95%"', "error = 0.1\nerror-rate = 0.1", [":1:", "error is the former name of error-rate"]),
        ('min-clean = "95%"', "attacks = []", [":3:", "attacks"]),
        ('min-clean = "95%"', "attacks = [1]", [":3:", "attacks"]),
        ('min-clean = "95%"', 'min-clean = "30%"', [":1:", "min-clean is less than"]),
        ('min-clean = "95%"', 'max-drop = "2%"', ["needs a baseline"]),
        ('min-clean = "95%"', 'n = 5\nindices = "i.txt"', ["not both"]),
        ('norm = "l2"', 'norm = "linff"', [":12:", "norm", "'linff'"]),
        ("eps = 0.5", 'eps = "8/0"', [":13:", "'8/0'"]),
        ("eps = 0.5", "eps = true", [":13:", "8/255"]),
        ('norm = "l2"\neps = 0.5', 'norm = "linf"\neps = "16/510"', ["linf", "twice"]),
        ('norm = "l2"\neps = 0.5', 'norm = "linf"\neps = "0.5"\nmin-robust = "50%"', ["swapped"]),
        ('min-worst-class = "12.5 %"', 'min-worst-class = "12%"\nmin-class = { cat = "12%" }', ["cat", "leave it out"]),
        ("[gate]", "[gates]\n[gate]", ["'gates'", "gate"]),
        ("[gate]", "[gate]\nmodel = 1", ["not TOML", "line 3"]),
        ("[gate]", "[gate", ["not TOML"]),
    ],
)
def test_mistakes_are_told_in_one_line(write, line, instead, parts):
    assert line in GOOD
    with pytest.raises(UsageError) as found:
        read(write(GOOD.replace(line, instead)), {})
    message = str(found.value)
    assert [part for part in parts if part not in message] == []
    assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"\xff\xfe[gate]", "UTF-8"),
        (b"[gate]\nmodel = 'a\0b'", "not TOML"),
        (b"a = " + b"[" * 100_000, "not TOML"),
        (b"a = " + b"9" * 100_000, "not TOML"),
        (b"#" * (1 << 20) + b"#", "larger than"),
        (b"", "no [gate]"),
        (b"gate = 3", "gate"),
        (b"gate = [1]", "gate"),
        (b"[gate]\nthreats = 3", "threats"),
        (b"[gate]\nthreats = [3]", "threats"),
        (b"\x1b[31m = 1", "not TOML"),
        (b'[gate]\n"a\\nb\\u001b[31m" = 1', "a?b?[31m"),
    ],
)
def test_hostile_files_are_refused_in_one_line(write, content, part):
    with pytest.raises(UsageError) as found:
        read(write(content), {})
    assert part in str(found.value) and "\n" not in str(found.value)


def test_what_is_no_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    for name, part in (
        ("loop.toml", "symbolic links"),
        ("", "not a file"),
        ("pipe.toml", "not a file"),
        ("x", "No such"),
    ):
        with pytest.raises(UsageError, match=part):
            read(tmp_path / name, {})


def test_pyproject_serves_where_there_is_no_file_of_its_own(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    assert discover() is None
    write("[tool.other]\n[project]\nname = 'x'\n", "pyproject.toml")
    assert discover() is None
    write(GOOD.replace("gate", "tool.advbench.gate"), "pyproject.toml")
    gate, source = read(discover(), {})
    assert gate.min_clean == Fraction(19, 20)
    assert source.place(rules_of(gate)[1].at).line == 8
    write(GOOD)
    assert discover() == Path("advbench.toml")


def test_the_published_schema_is_the_one_in_use():
    assert json.loads((ROOT / "docs" / "advbench.schema.json").read_text()) == json_schema()


def test_the_schema_speaks_of_every_key_as_it_is_written():
    definitions = json_schema()["$defs"]
    keys = definitions["GateRules"]["properties"]
    assert {key for key in keys if "deprecated" not in keys[key]} == set(GateRules.keys())
    assert definitions["ThreatRules"]["additionalProperties"] is False


def test_every_norm_can_be_written():
    norm = json_schema()["$defs"]["ThreatRules"]["properties"]["norm"]["anyOf"][0]["enum"]
    assert set(norm) == set(NORMS)
