"""Gates and certificates from Python: the verdicts of the command line."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import advbench
from advbench.cli import app
from advbench.core.errors import UsageError
from advbench.gating.verdict import Gate

from .tiny import linear, noise

SHAPE = (5, 6, 3)
MINE = """
import numpy as np

def net():
    w = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    return lambda x: x.reshape(len(x), -1) @ w
"""
RULES = {"norm": "linf", "eps": "1/1000", "attacks": "fgsm", "min_robust": "30%", "preflight": "none"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    images, labels = noise(SHAPE, 3, 64)
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return images, labels


def test_a_gate_decides_as_the_command_line(folder):
    words = ["gate", "mine.py:net", "--data", "own.npz", "--norm", "linf", "--eps", "1/1000", "--attack", "fgsm"]
    done = CliRunner().invoke(app, [*words, "--min-robust", "30%", "--preflight", "none", "--json", "g.json"])
    assert done.exit_code == 0, done.output
    typed, called = Gate.load(Path("g.json")), advbench.gate("mine.py:net", "own.npz", **RULES)
    assert called.outcomes == typed.outcomes
    assert (called.images, called.population, called.verdict) == (typed.images, typed.population, "pass")
    assert advbench.gate(linear(SHAPE, 3), folder, **RULES).outcomes == typed.outcomes


def test_a_gate_that_fails_says_so_and_raises_nothing(folder):
    found = advbench.gate(linear(SHAPE, 3), folder, **RULES | {"eps": 0.3, "min_robust": 0.9})
    assert found.verdict == "fail" and found.exit_code == 1


def test_a_baseline_is_written_and_compared(folder, tmp_path):
    asked = {**RULES, "baseline": tmp_path / "b.json"}
    del asked["min_robust"]
    assert advbench.gate(linear(SHAPE, 3), folder, **asked, update_baseline=True).verdict == "pass"
    assert advbench.gate(linear(SHAPE, 3), folder, **asked, max_drop="5%").verdict == "pass"


def test_rules_that_ask_for_nothing_are_refused(folder):
    with pytest.raises(UsageError, match="nothing to decide"):
        advbench.gate(linear(SHAPE, 3), folder)


def test_a_certificate_lies_below_what_attacks_leave(folder):
    settings = {"norm": "linf", "eps": "1/1000", "n": 12}
    proof = advbench.certify(linear(SHAPE, 3), folder, method="ibp", attacks="fgsm", **settings)
    result = advbench.evaluate(linear(SHAPE, 3), folder, attacks="fgsm", preflight=False, **settings)
    assert proof.certified.correct <= result.robust.correct
    joined = advbench.certify(linear(SHAPE, 3), folder, method="ibp", run=result)
    assert [row.certified for row in joined.rows] == [row.certified for row in proof.rows]
