"""`advbench doctor`: what it prints, and its exit codes."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from advbench import preflight as doctor
from advbench.cli import app
from advbench.preflight import CHECKS, Check

MODELS = """
import jax, jax.numpy as jnp

w = jax.random.normal(jax.random.key(0), (784, 10)) / 28
logits = lambda x: x.reshape(len(x), -1) @ w
honest = lambda: logits
softmax = lambda: lambda x: jax.nn.softmax(logits(x))
nan = lambda: lambda x: logits(x).at[3].set(jnp.nan)
features = lambda: lambda x: x.reshape(len(x), -1)
stuck = lambda: lambda x: jax.lax.while_loop(lambda z: z.sum() < 0, lambda z: z, logits(x))
scalar = lambda: lambda x: logits(x).sum()
colours = lambda: lambda x: x.reshape(len(x), -1) @ jnp.ones((3072, 10))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command on a factory of the user's file above, with a self-test that finds nothing."""
    (tmp_path / "mine.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "selftest", lambda seed: [Check("a sum", True, 1e-7, 1e-5, "jit")])
    return lambda *words: CliRunner().invoke(app, ["doctor", *words])


def test_an_honest_model_passes(run):
    got = run("mine.py:honest", "--data", "mnist", "-n", "16")
    assert got.exit_code == 0
    assert "fail" not in got.stdout
    assert verdicts(got) == 1 + len(CHECKS)  # nothing was trained: near chance
    assert "on 16 test images" in got.stdout


def verdicts(got):
    """How many lines of the tables bear a verdict."""
    return len(re.findall(r"^│ (pass|note|not made|fail) ", got.stdout, re.MULTILINE))


def test_more_outputs_than_classes_exit_with_3_unless_they_are_allowed(run):
    words = ("mine.py:features", "--data", "mnist", "-n", "64")
    got = run(*words)
    assert (got.exit_code, "extra_outputs" in got.stderr, "fail" in got.stdout) == (3, True, True)
    allowed = run(*words, "--allow-extra-outputs", "--json", "-")
    flags = {flag["name"]: flag for flag in json.loads(allowed.stdout)["model"]["flags"]}
    assert flags["extra_outputs"]["level"] == "note"
    assert flags["near_chance"]["evidence"]["chance"] == 0.1


def test_what_was_not_made_is_not_printed_as_passed(run):
    """Of a model without derivative nothing can be said of its slopes, and of one image nothing of chance."""
    got = run("mine.py:stuck", "--data", "mnist", "-n", "1", "--json", "found.json")
    (flag,) = (
        f for f in json.loads(Path("found.json").read_text())["model"]["flags"] if f["name"] == "checks_not_made"
    )
    left_out = set(flag["evidence"]["checks"])
    assert {"zero_gradients", "saturated", "constant_outputs"} <= left_out
    assert got.stdout.count("not made") == len(left_out)
    assert verdicts(got) == 1 + len(CHECKS)


@pytest.mark.parametrize(("factory", "flag"), [("softmax", "probabilities"), ("nan", "nonfinite_outputs")])
def test_an_invalid_model_exits_with_3_and_says_why(run, factory, flag):
    got = run(f"mine.py:{factory}", "--data", "mnist", "-n", "16")
    assert got.exit_code == 3
    assert flag in got.stderr
    assert len(got.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mine.py:scalar", "--data", "mnist"], "should return logits"),
        (["mine.py:colours", "--data", "mnist"], "can't be called on images [28, 28, 1]"),
        (["mine.py:honest"], "--data"),
        (["mine.py:honest", "--data", "mnits"], "'mnist'"),
        (["mine.py:honest", "--data", "mnist", "-n", "10001"], "more than the 10000 images"),
        (["mine.py:none", "--data", "mnist"], "no function 'none'"),
        (["--json", "no/such/folder/x.json"], "can't write"),
    ],
)
def test_what_cannot_be_examined_exits_with_2_in_one_line(run, words, message):
    got = run(*words)
    assert got.exit_code == 2
    assert message in got.stderr
    assert len(got.stderr.splitlines()) == 1


def test_a_machine_that_computes_wrongly_exits_with_3(run, monkeypatch):
    monkeypatch.setattr(doctor, "selftest", lambda seed: [Check("a sum", False, float("inf"), 1e-5, "vmap")])
    got = run()
    assert got.exit_code == 3
    assert "fail" in got.stdout
    assert "a sum" in got.stderr


def test_json_on_stdout_is_all_there_is(run):
    got = run("mine.py:softmax", "--data", "mnist", "-n", "16", "--json", "-")
    found = json.loads(got.stdout)
    assert got.exit_code == 3
    assert found["machine"] == [{"name": "a sum", "passed": True, "error": 1e-7, "tolerance": 1e-5, "setting": "jit"}]
    assert "probabilities" in [flag["name"] for flag in found["model"]["flags"]]


def test_json_of_an_infinite_error_can_be_read_by_others(run, monkeypatch):
    monkeypatch.setattr(doctor, "selftest", lambda seed: [Check("a sum", False, float("inf"), 1e-5, "vmap")])
    run("--json", "found.json")
    found = json.loads(Path("found.json").read_text(), parse_constant=pytest.fail)
    assert found["machine"][0]["error"] is None
    assert found["model"] is None


def test_full_also_asks_for_masked_gradients(run):
    from advbench.preflight.masking import ASKED

    words = ("mine.py:honest", "--data", "mnist", "-n", "16", "--full")
    got = run(*words)
    assert got.exit_code in (0, 3)  # an untrained model is rarely right
    assert verdicts(got) >= 1 + len(CHECKS | ASKED)


def test_the_same_seed_looks_at_the_same_images(run):
    words = ("mine.py:nan", "--data", "mnist", "-n", "16", "--json", "-", "--seed")
    assert run(*words, "1").stdout == run(*words, "1").stdout
