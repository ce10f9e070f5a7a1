"""A pull request's comment: found again, short enough, calling nobody, and paired with the base branch."""

import re

import pytest
from hypothesis import given, settings

from advbench.cli.comment import main
from advbench.evaluation.paired import Difference
from advbench.reports import delta
from advbench.reports.comment import comment, marker
from tests.advbench.reports.gates import HOSTILE, gate, gates, outcome, result


def test_the_change_is_paired_image_by_image():
    base = gate(outcome("pass"), results=[result(robust=15)])
    here = gate(outcome("fail"), results=[result(robust=12)])
    sheet = delta.of_gates(here, base)
    assert sheet.title == "Against the base: pass there, fail here"
    assert [row[:4] for row in sheet.rows] == [
        ("clean accuracy, 20 images", "100.0%", "100.0%", "+0.0"),
        ("linf 0.3, 20 images", "75.0%", "60.0%", "-15.0"),
    ]
    found = Difference.of([i < 15 for i in range(20)], [i < 12 for i in range(20)])
    assert sheet.rows[1][5:] == ("3", "0", f"{found.p:.2g}")


def test_only_images_that_both_looked_at_count():
    base = gate(outcome(), results=[result(n=30, robust=30)])
    assert delta.of_gates(gate(outcome(), results=[result(n=20, robust=12)]), base).rows[1][:3] == (
        "linf 0.3, 20 images",
        "100.0%",
        "60.0%",
    )


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ({"norm": "l2"}, "lacks this threat"),
        ({"eps": "8/255"}, "lacks this threat"),
        ({"specs": ("fgsm", "pgd")}, r"attacks differ \(fgsm here, fgsm, pgd there\)"),
        ({"seed": 1}, r"seeds differ \(0 here, 1 there\)"),
        ({"n": 1, "robust": 1, "rows": result(n=40).rows[30:]}, "no image in common"),
    ],
)
def test_what_can_not_be_compared_is_not(there, why):
    sheet = delta.of_gates(gate(outcome()), gate(outcome(), results=[result(**there)]))
    assert sheet.rows == ()
    assert re.search(why, sheet.notes[-1].text)


@settings(deadline=None, max_examples=60)
@given(gates(), gates())
def test_a_comment_calls_nobody_and_is_found_again(here, base):
    text = comment(here, base, "default")
    first, *rest = text.splitlines()
    assert first == marker("default")
    assert not any(line.startswith("<!-- advbench-gate") for line in rest)
    assert not re.search(r"[@#]\w", text)
    assert len(text) <= 65_536


@pytest.mark.parametrize("name", HOSTILE)
def test_markers_are_whole_comments(name):
    assert re.fullmatch(r"<!-- advbench-gate: [a-zA-Z0-9.]?(-?[a-zA-Z0-9.]+)*-? -->", marker(name))


def test_the_command_prints_it(tmp_path, capsys):
    here, base = tmp_path / "gate.json", tmp_path / "base.json"
    here.write_text(gate(outcome("fail")).to_json())
    assert main([str(here), "--base", str(base)]) == 0
    assert "The base branch has no gate" in capsys.readouterr().out
    base.write_text(gate(outcome("pass")).to_json())
    assert main([str(here), "--base", str(base), "--name", "mnist"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("<!-- advbench-gate: mnist -->\n**Gate failed: net**")
    assert "Against the base: pass there, fail here" in out
    base.write_text("{}")
    assert main([str(here), "--base", str(base)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
