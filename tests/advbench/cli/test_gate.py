"""`advbench gate`: every verdict with its exit code, and one clear line for whatever can't be decided."""

import errno
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from advbench.core import files
from advbench.gating.baseline import Baseline
from advbench.gating.rules import json_schema
from advbench.gating.verdict import Gate
from tests.advbench.cli.test_attack import in_one_line

RULES = """\
[gate]
model = "mine.py:net"
data = "mnist"
n = 256
attacks = ["fgsm"]
preflight = "none"
batch-size = 32
min-clean = "40%"

[[gate.threats]]
norm = "linf"
eps = "0.02"
min-robust = "10%"
min-worst-class = "0.01%"
"""


@pytest.fixture
def gate(run):
    """`advbench gate` on 256 MNIST images, by FGSM at a small eps unless told otherwise."""

    def invoke(model, *words):
        defaults = {"--data": "mnist", "--attack": "fgsm", "--eps": "0.02", "-n": "256", "--preflight": "none"}
        defaults["--batch-size"] = "32"
        given = [str(word) for word in words]
        missing = [word for pair in defaults.items() if pair[0] not in given for word in pair]
        return run("gate", f"mine.py:{model}", *missing, *given)

    return invoke


def found(path="g.json"):
    return Gate.load(Path(path))


def test_an_obvious_pass_costs_tens_of_images(gate):
    got = gate("net", "--min-robust", "10%", "--json", "g.json")
    assert got.exit_code == 0, got.output
    decided = found()
    rule, flags = decided.outcomes
    assert (decided.verdict, rule.verdict, flags.rule) == ("pass", "pass", "flags")
    assert rule.measured.low >= 0.1 and decided.images <= 64 < decided.population == 256
    assert decided.results[0].robust.correct == rule.measured.correct
    assert "Gate passed" in got.stdout and "pass" in got.stdout.splitlines()[-4]


def test_a_failing_gate_ends_with_1_and_its_reports_are_there(gate):
    got = gate("net", "--min-robust", "99.9%", "--report", "junit=j.xml", "--report", "json=g.json", "--json", "-")
    in_one_line(got, 1, "failed", "min_robust linf 0.02", "99.9%")
    assert found().verdict == "fail"
    assert "<failure" in Path("j.xml").read_text()
    assert json.loads(got.stdout) == json.loads(Path("g.json").read_text())


def test_when_time_is_up_it_is_inconclusive(gate):
    got = gate("net", "--min-robust", "10%", "--time-limit", "0.001s", "--json", "g.json")
    in_one_line(got, 5, "inconclusive", "time was up")
    assert found().outcomes[0].measured is None


@pytest.mark.parametrize(("model", "flag"), [("nan", "nonfinite_outputs"), ("softmax", "probabilities")])
def test_worthless_numbers_end_with_3_before_any_attack(gate, model, flag):
    in_one_line(gate(model, "--min-robust", "10%", "--report", "json=g.json"), 3, flag)
    assert found().images == 0


def test_a_finding_may_be_allowed_by_name(gate):
    assert gate("softmax", "--min-robust", "1%", "--allow-flag", "probabilities", "--json", "g.json").exit_code == 0
    assert found().images > 0
    in_one_line(gate("net", "--min-robust", "1%", "--allow-flag", "probabilitys"), 2, "'probabilities'")


def test_masked_gradients_make_a_gate_invalid(gate):
    got = gate("coarse_later", "--eps", "0.3", "--min-robust", "1%", "--preflight", "fast")
    in_one_line(got, 3, "unbounded_attack_fails")


def test_rules_of_a_file_are_all_decided_and_know_their_place(run):
    Path("advbench.toml").write_text(RULES)
    got = run("gate", "--json", "g.json")
    assert got.exit_code == 0, got.output
    places = {outcome.kind: (outcome.place.file, outcome.place.line) for outcome in found().outcomes}
    assert places == {
        "min_clean": ("advbench.toml", 8),
        "min_robust": ("advbench.toml", 13),
        "min_worst_class": ("advbench.toml", 14),
        "flags": ("advbench.toml", 1),
    }
    levels = {outcome.measured.level for outcome in found().outcomes if outcome.measured}
    assert levels == {1 - 0.05 / 3}


def test_the_model_may_be_named_beside_the_file(run):
    Path("advbench.toml").write_text(RULES.replace('model = "mine.py:net"\n', ""))
    in_one_line(run("gate"), 2, "advbench.toml:1", "no model")
    assert run("gate", "mine.py:net").exit_code == 0
    in_one_line(run("gate", "mine.py:net", "--model", "mine.py:blind"), 2, "two models")
    in_one_line(run("gate", "mine.py:net", "--min-robust", "5%"), 2, "--data")  # flags don't look at the file


def test_the_same_seed_decides_the_same(gate):
    decided = []
    for _ in range(2):
        gate("net", "--min-robust", "60%", "--json", "g.json")
        decided.append([outcome.model_dump() for outcome in found().outcomes])
    assert decided[0] == decided[1]


def test_a_baseline_is_written_compared_and_never_mistaken(gate):
    def compare(model, *words):
        return gate(model, "--max-drop", "5%", "--baseline", "b.json", "--json", "g.json", *words)

    in_one_line(compare("net"), 2, "b.json", "No such file", "--update-baseline")
    assert gate("net", "--baseline", "b.json", "--update-baseline").exit_code == 0
    assert Baseline.load(Path("b.json")).n == 256
    assert compare("net").exit_code == 0
    same = found().outcomes[0].difference
    assert (same.n, same.lost, same.won, same.p) == (256, 0, 0, 1)
    in_one_line(compare("blind"), 1, "max_drop linf 0.02", "lost")
    worse = found().outcomes[0].difference
    assert worse.change < -0.05 and worse.lost > worse.won
    in_one_line(compare("net", "--eps", "0.03"), 2, "another threat (linf 0.02, now linf 0.03)")
    in_one_line(compare("net", "--attack", "pgd"), 2, "another attacks (fgsm, now pgd)")
    in_one_line(compare("net", "--seed", "1", "-n", "100"), 2, "another seed (0, now 1); another images")
    Path("b.json").write_text(Path("b.json").read_text().replace("1", "0", 9))
    in_one_line(compare("net"), 2, "b.json")


def test_a_baseline_for_which_there_was_no_time_is_not_written(gate):
    got = gate("net", "--baseline", "b.json", "--update-baseline", "--time-limit", "0.001s")
    in_one_line(got, 5, "the new baseline", "not written")
    assert not Path("b.json").exists()


def test_out_keeps_what_verify_can_check(gate, run):
    assert gate("net", "--min-robust", "10%", "--out", "kept").exit_code == 0
    assert run("verify", "kept/linf-0.02", "--model", "mine.py:net").exit_code == 0
    in_one_line(gate("net", "--min-robust", "10%", "--out", "kept"), 2, "kept/linf-0.02", "--resume")
    in_one_line(gate("net", "--min-robust", "10%", "--out", "kept", "--resume"), 2, "finished")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["nothing to decide", "--min-robust"]),
        (["--min-robust", "40"], ["--min-robust", '"40%"']),
        (["--min-robust", "140%"], ["more than 100%"]),
        (["--max-drop", "2%"], ["baseline"]),
        (["--update-baseline"], ["--baseline FILE"]),
        (["--min-robust", "40%", "--baseline", "b.json"], ["max-drop"]),
        (["--min-class", "cat"], ["CLASS=PERCENT"]),
        (["--min-class", "cat=20%"], ["'cat'", "there are: 0, 1"]),
        (["--min-robust", "40%", "--error-rate", "2"], ["--error-rate", "0.5"]),
        (["--min-robust", "40%", "--seed", "-1"], ["--seed"]),
        (["--min-robust", "40%", "--time-limit", "soon"], ["60s, 5m or 1h"]),
        (["--min-robust", "40%", "--report", "junt=x.xml"], ["'junit'"]),
        (["--min-robust", "40%", "--report", "junit=no/such/x.xml"], ["no/such/x.xml"]),
        (["--min-robust", "40%", "--norm", "linff"], ["'linff'"]),
        (["--min-robust", "40%", "--attack", "pgdd"], ["'pgd'"]),
        (["--min-robust", "40%", "--resume"], ["--out"]),
        (["--min-robust", "40%", "--eps", "8"], ["8/255"]),
    ],
)
def test_wrong_options_are_refused(gate, run, words, parts):
    given = [] if words and words[0] == "--min-robust" else words
    got = run("gate", "mine.py:net", "--data", "mnist", *words) if given or "--eps" in words else gate("net", *words)
    in_one_line(got, 2, *parts)


def test_a_signal_ends_it_with_its_code(gate, monkeypatch):
    @contextmanager
    def terminated():
        yield lambda: 15

    monkeypatch.setattr("advbench.cli.signals.listening", terminated)
    in_one_line(gate("net", "--min-robust", "10%"), 143, "stopped")


def test_a_full_disk_hides_no_verdict(gate, monkeypatch):
    write = files.write

    def full(path, content):
        if path.name == "j.xml":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(files, "write", full)
    got = gate("net", "--min-robust", "10%", "--report", "junit=j.xml", "--report", "json=g.json")
    in_one_line(got, 4, "j.xml", "No space left")
    assert found().verdict == "pass" and "Gate passed" in got.stdout


def test_checking_a_file_imports_nothing_heavy(tmp_path):
    (tmp_path / "advbench.toml").write_text(RULES)
    code = """if True:
        import sys
        from typer.testing import CliRunner
        from advbench.cli import app
        got = CliRunner().invoke(app, ["gate", "--check"])
        print(got.exit_code, sorted({"jax", "flax", "optax", "orbax"} & set(sys.modules)), got.stdout)
    """
    got = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert got.stdout.startswith("0 [] advbench.toml is valid (rules: 3, threat models: 1)")


def test_a_wrong_file_is_refused_by_check(run):
    Path("advbench.toml").write_text(RULES.replace("min-clean", "min-clen"))
    in_one_line(run("gate", "--check"), 2, "advbench.toml:8", "'min-clean'")
    in_one_line(run("gate", "advbench.toml", "--min-robust", "40%"), 2, "not both")
    in_one_line(run("gate", "none.toml", "--check"), 2, "none.toml", "No such file")


def test_the_schema_is_printed(run):
    assert json.loads(run("gate", "--schema").stdout) == json_schema()
