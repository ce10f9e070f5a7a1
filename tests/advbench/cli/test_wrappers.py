"""`--input-defense`, as people type it."""

import json

import pytest
from typer.testing import CliRunner

from advbench.cli import app

SHORT = ("--data", "mnist", "--norm", "linf", "--eps", "0.2", "-n", "48", "--batch-size", "48", "--doublings", "0")
PGD = ("--attack", "pgd:steps=40,rel_step_size=0.2,loss=margin")


def test_what_only_masks_falls_to_an_attack_that_knows_it(run, tmp_path):
    """The positive control: rounding to one bit hides gradients, and next to nothing else."""
    arguments = ("attack", "mine.py:net", *SHORT, *PGD, "--input-defense", "bits:depth=2", "--json", "-")
    masked = run(*arguments, "--no-adaptive", "--force")
    seen = run(*arguments, "--out", tmp_path / "run")
    assert masked.exit_code == 3, masked.stderr
    assert seen.exit_code == 0, seen.stderr
    hidden, open_ = json.loads(masked.stdout), json.loads(seen.stdout)
    flags = {flag["name"] for flag in hidden["flags"] if flag["level"] == "invalid"}
    assert "zero_gradients" in flags
    assert hidden["robust"]["accuracy"] > 0.9 * hidden["clean"]["accuracy"]
    assert open_["robust"]["accuracy"] < 0.3
    assert open_["model"]["record"]["wrappers"] == ["bits:depth=2"]
    assert open_["model"]["digest"] != hidden["model"]["digest"]
    assert run("verify", tmp_path / "run", "--model", "mine.py:net").exit_code == 0
    resumed = run(*arguments[:-2], "--out", tmp_path / "run", "--resume", "--input-defense", "median")
    assert resumed.exit_code == 2
    assert "model" in resumed.stderr


def test_a_detector_is_attacked_and_verified(run, tmp_path):
    arguments = ("attack", "mine.py:net", *SHORT, *PGD, "--input-defense", "squeeze:threshold=1", "--preflight", "none")
    found = run(*arguments, "--json", "-", "--out", tmp_path / "run")
    assert found.exit_code == 0, found.stderr
    result = json.loads(found.stdout)
    broken = [row for row in result["rows"] if row["broken_by"] not in (None, "clean")]
    assert broken
    assert all(row["prediction"] < 10 for row in broken)
    assert run("verify", tmp_path / "run", "--model", "mine.py:net").exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--input-defense", "jpg"), "did you mean 'jpeg'"),
        (("--input-defense", "jpeg:quality=0"), "should be from 1 to 100"),
        (("--input-defense", "jpeg:q=1"), "unknown setting of jpeg"),
        (("--input-defense", "purify"), "python -m advbench.wrappers.train"),
        (("--input-defense", "purify:generator=none"), "can't read the generator"),
        (("--input-defense", "squeeze", "--input-defense", "resize"), "leave out"),
        (("--no-adaptive",), "name one with --input-defense"),
    ],
)
def test_mistakes_are_told_in_a_line(words, says, run):
    failed = run("attack", "mine.py:net", *SHORT, *words)
    assert failed.exit_code == 2
    assert says in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_wrappers_are_listed():
    assert "jpeg" in CliRunner().invoke(app, ["list", "wrappers"]).stdout
