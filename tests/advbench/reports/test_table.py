"""One source of rows; terminals of any width, and Markdown that no name can break."""

import io
import re

import pytest
from rich.console import Console

from advbench.cli.output import tabulate
from advbench.reports import sheet, table

HOSTILE = "a|b`c`<img src=x>\x1b[31m\n::error::[x](y)"


def shown(which, width=100, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    tabulate(which, console)
    return console.file.getvalue()


def cells(markdown):
    """Cells of the Markdown table, split where a reader would split them."""
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.splitlines() if line.startswith("|")]


def test_every_row_carries_its_accuracy_and_interval(make):
    result = make()
    found = sheet.of_result(result)
    assert [row[0] for row in found.rows] == ["clean accuracy", "fgsm", "pgd:steps=100,restarts=5", "robust accuracy"]
    assert [row[1] for row in found.rows] == ["90.0%", "65.0%", "60.0%", "60.0%"]
    low, high = (float(bound) / 100 for bound in found.rows[-1][2].split("-"))
    assert (low, high) == pytest.approx((result.robust.low, result.robust.high), abs=5e-4)
    assert found.rows[2][found.header.index("passes/ image")] == "40"
    assert found.rows[-1][found.header.index("seconds")] == "2.5"


def test_many_images_earn_a_second_decimal(make):
    assert sheet.percent(make(n=1000, clean=905).clean) == "90.5%"
    assert sheet.percent(make(n=8000, clean=7243).clean) == "90.54%"


def test_each_shows_attacks_alone_and_a_cascade_what_is_left(make):
    assert [row[1] for row in sheet.of_result(make(mode="each")).rows][1:3] == ["66.0%", "61.0%"]
    assert [row[1] for row in sheet.of_result(make(mode="cascade")).rows][1:3] == ["65.0%", "60.0%"]


def test_terminal_and_markdown_say_the_same(make):
    found = sheet.of_result(make(flags=[("probabilities", "invalid"), ("saturated", "note")]))
    terminal, markdown = shown(found), table.markdown(found)
    words = [cell for row in found.rows for cell in row if cell] + [note.text for note in found.notes]
    unescaped = re.sub(r"\\(.)", r"\1", markdown)
    flowing = " ".join(terminal.split())
    assert [word for word in words if word not in unescaped] == []
    assert [word for word in words if word not in flowing] == []
    assert "invalid: probabilities: probabilities was seen" in flowing


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_the_verdict_is_always_there(make, width):
    text = shown(sheet.of_result(make(name="a-rather-long-model-name", flags=[("saturated", "note")])), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    verdict = next(line for line in text.splitlines() if "robust accuracy" in line)
    assert "60.0%" in verdict
    assert "50.2-69.1" in verdict


def test_names_can_steer_neither_terminal_nor_markdown(make):
    found = sheet.of_models([make(name=HOSTILE, mode="each")] * 2, [HOSTILE, "plain"])
    text = shown(found, 120, force_terminal=True, color_system=None)
    assert "\x1b[31m" not in text
    markdown = table.markdown(found)
    assert {len(row) for row in cells(markdown)} == {len(found.header)}
    assert "<img" not in markdown.replace("\\<", "")
    assert "\x1b" not in markdown
    assert not any(line.startswith("::") for line in markdown.splitlines())


def test_plain_output_has_no_escape_codes(make):
    assert "\x1b" not in shown(sheet.of_result(make()))
    assert "\x1b" in shown(sheet.of_result(make()), force_terminal=True, color_system="standard")


def test_models_go_down_and_attacks_across(make):
    found = sheet.of_models(
        [make(name="a", robust=60, mode="each"), make(name="b", robust=20, mode="each")], ["a", "b"]
    )
    assert found.header == ("model", "clean\naccuracy", "fgsm", "pgd", "robust\naccuracy", "seconds")
    assert "pgd is pgd:steps=100,restarts=5." in [note.text for note in found.notes]
    assert [row[0] for row in found.rows] == ["a", "b"]
    assert [row[4].split("\n")[0] for row in found.rows] == ["60.0%", "20.0%"]
    assert "(50.2-69.1)" in cells(table.markdown(found))[2][4]


@pytest.mark.parametrize(
    ("specs", "names"),
    [
        (["fgsm", "cw:rounds=3,steps=60"], ["fgsm", "cw"]),
        (["pgd:steps=9", "fgsm", "pgd:steps=99"], ["pgd#1", "fgsm", "pgd#2"]),
        (["apgd", "apgd:loss=dlr", "apgd:loss=dlr,targets=9"], ["apgd", "apgd#2", "apgd#3"]),
        (["pgd", "pgd"], ["pgd#1", "pgd#2"]),
    ],
)
def test_heads_of_columns_leave_settings_out_and_stay_distinct(specs, names):
    assert sheet.short_names(specs) == names


def test_a_curve_has_a_row_per_eps(make):
    found = sheet.of_curve([make(eps="0.1", robust=80), make(eps="0.2", robust=40)])
    assert [row[:2] for row in found.rows] == [("clean", "90.0%"), ("0.1", "80.0%"), ("0.2", "40.0%")]
