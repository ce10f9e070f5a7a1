"""The table of several seeds against numbers worked out by hand."""

import pytest

from advbench.reports.seeds import of_seeds, summary


def record(seed, clean, robust):
    return {
        "recipe": {"seed": seed},
        "validation": {"clean": clean, "fgsm": 0.5, "robust": robust, "epoch": 2},
        "images": {"validated_on": 1000},
        "defense": "pgd",
        "threat": {"norm": "linf", "eps": "0.3"},
        "seconds": 1234.5,
    }


def test_mean_and_sample_deviation():
    found = summary("runs/x", [record(0, 0.9, 0.5), record(1, 0.8, 0.6), record(7, 0.7, 0.7)])
    assert found["mean"] == pytest.approx({"clean": 0.8, "fgsm": 0.5, "robust": 0.6})
    assert found["deviation"] == pytest.approx({"clean": 0.1, "fgsm": 0.0, "robust": 0.1})
    assert [run["seed"] for run in found["seeds"]] == [0, 1, 7]
    sheet = of_seeds(found)
    assert [row[0] for row in sheet.rows] == ["0", "1", "7", "mean", "deviation"]
    assert sheet.rows[1] == ("1", "80.00%", "50.00%", "60.00%", "2", "1,234.5")
    assert sheet.rows[-1][1:4] == ("10.00", "0.00", "10.00")
    assert "linf eps 0.3" in sheet.title and "its own validation images" in sheet.notes[0].text
    found["seeds"][0]["images"] = {"validated_on": 1000, "validation": {"split": "val"}}
    assert "the same validation images, of val" in of_seeds(found).notes[0].text


def test_a_single_seed_has_no_deviation():
    found = summary("runs/x", [record(0, 0.9, 0.5)])
    assert found["deviation"] == {"clean": None, "fgsm": None, "robust": None}
    assert of_seeds(found).rows[-1][1] == "-"
