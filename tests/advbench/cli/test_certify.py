"""`advbench certify`: a table from both sides, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def attacked(run):
    words = ("--data", "mnist", "-n", 40, "--norm", "linf", "--eps", "0.1")
    got = run("attack", "mine.py:net", *words, "--attack", "pgd", "--preflight", "none", "--out", "run")
    assert got.exit_code == 0, got.output
    return Path("run/result.json")


def test_of_a_linear_model_next_to_nothing_is_undecided(run, attacked):
    """Bounds are exact there, and PGD nearly so."""
    got = run("certify", "mine.py:net", "--data", "mnist", "--run", "run", "--json", "c.json", "--markdown", "-")
    assert got.exit_code == 0, got.output
    found, result = json.loads(Path("c.json").read_text()), json.loads(attacked.read_text())
    assert found["attacked"]["correct"] == result["robust"]["correct"]
    assert 0 <= found["attacked"]["correct"] - found["certified"]["correct"] <= 3
    assert [row["index"] for row in found["rows"]] == list(range(40))
    assert (
        "certified accuracy (lower bound)" in got.stdout
        and f"{found['certified']['accuracy']:.1%}" in got.stdout.replace("\\", "")
    )
    assert not any(row["certified"] and row["broken_by"] for row in found["rows"])


def test_certified_and_broken_is_a_contradiction(run, attacked):
    """An attack that cheats says that a certified image is broken: the command ends with 3, and names the image."""
    result = json.loads(attacked.read_text())
    at = min((row["margin"], i) for i, row in enumerate(result["rows"]) if row["robust"])[1]
    result["rows"][at] |= {"robust": False, "broken_by": "pgd"}
    attacked.write_text(json.dumps(result))
    got = run("certify", "mine.py:net", "--data", "mnist", "--run", "run")
    assert got.exit_code == 3, got.output
    assert "certified_yet_broken" in got.stderr and f"broken: {at};" in " ".join(got.stdout.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--run", "run", "--eps", "0.2"), "its eps differs"),
        (("--run", "run", "-n", "41"), "did not attack image 40"),
        (("--run", "run", "--attack", "pgd"), "not both"),
        (("--method", "smoothing", "--attack", "pgd"), "smoothed classifier"),
        (("--method", "smoothing", "-n", "2"), "certifies in l2"),
        (("--method", "smoothing", "--norm", "l2", "--eps", "0.5", "--alpha", "0.7"), "alpha"),
        (("--method", "smoothing", "--norm", "l2", "--eps", "0.5", "--samples", "5"), "it takes 10 or more"),
        (("--eps", "0.1,0.2"), "one --eps"),
    ],
)
def test_what_makes_no_sense_is_refused(run, attacked, words, says):
    got = run("certify", "mine.py:net", "--data", "mnist", *words)
    assert got.exit_code == 2 and says in " ".join(got.stderr.split())


def test_a_model_without_bounds_is_told_what_stands_in_the_way(run):
    got = run("certify", "mine.py:coarse_later", "--data", "mnist", "-n", 2)
    assert got.exit_code == 2
    assert "round" in got.stderr and "--method smoothing" in got.stderr


def test_smoothing_certifies_in_l2(run):
    words = ("--norm", "l2", "--eps", "0.1", "-n", 4, "--samples", 500, "--json", "-")
    got = run("certify", "mine.py:net", "--data", "mnist", "--method", "smoothing", *words)
    assert got.exit_code == 0, got.output
    found = json.loads(got.stdout)
    radii = np.array([row["radius"] for row in found["rows"]])
    right = np.array([row["prediction"] == row["label"] for row in found["rows"]])
    assert found["certified"]["correct"] == (right & (radii > 0.1)).sum()
