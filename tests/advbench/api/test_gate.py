"""Gates and certificates from Python: the verdicts of the command line."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import advbench
from advbench.api.gate_rules import SURROUNDING
from advbench.api.settings import Settings
from advbench.attacks import FGSM
from advbench.cli import app
from advbench.core.errors import UsageError
from advbench.gating.rules import GateRules
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


class Leap(FGSM):
    """An attack of one's own, in no registry."""


def test_a_gate_takes_whatever_an_evaluation_takes(folder):
    given = {
        **RULES,
        "attacks": [Leap(), "pgd:steps=2,rel_step_size=0.6"],
        "classes": ["a", "b", "c"],
        "min_class": {"b": "1%"},
    }
    found = advbench.gate(linear(SHAPE, 3), folder, **given)
    assert [report.spec for report in found.results[0].attacks] == ["leap", "pgd:steps=2,rel_step_size=0.6"]
    assert found.results[0].data.classes == ("a", "b", "c") and found.verdict == "pass"
    own = {"norm", "eps", *SURROUNDING}  # of a threat, and of one run
    needless = {"cascade", "force", "doublings", "progress"}
    assert Settings.names() - own - needless <= GateRules.model_fields.keys()
    shown = inspect.signature(advbench.gate).parameters
    assert Settings.names() - needless <= shown.keys() and shown["batch_size"].default == 64
    assert needless.isdisjoint(shown)
    for name in needless:
        with pytest.raises(UsageError, match=f"a gate has no {name}"):
            advbench.gate(linear(SHAPE, 3), folder, **RULES, **{name: True})


def test_settings_reach_the_model_from_the_file_too(folder, tmp_path):
    head = '[gate]\nmodel = "mine.py:net"\ndata = "own.npz"\n{}\n'
    rules = head + '[[gate.threats]]\nnorm = "linf"\neps = 0.1\nmin-robust = 0.1\n'
    for key, value, words in (
        ("weights", '"none.pt"', "for PyTorch and Keras"),
        ("expect-clean", '"soon"', "should be an accuracy"),
        ("eot-samples", "3", "for randomised models"),
        ("query-limit", "9", "for remote models"),
    ):
        (tmp_path / "advbench.toml").write_text(rules.format(f"{key} = {value}"))
        with pytest.raises(UsageError, match=words):
            advbench.gate()
        typed = [f"--{key}", value.strip('"'), "--norm", "linf", "--eps", "0.001", "--min-robust", "1%"]
        done = CliRunner().invoke(app, ["gate", "mine.py:net", "--data", "own.npz", *typed])
        assert done.exit_code == 2 and words in done.stderr


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
