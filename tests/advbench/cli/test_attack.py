"""`advbench attack`: results, exit codes, and one clear line for whatever can't be done."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advbench.evaluation import Result


def in_one_line(got, code, *parts):
    """Assert that the command ended with that code and with one line that says these things."""
    assert got.exit_code == code, got.output
    last = got.stderr.splitlines()[-1]
    assert last.startswith("advbench: ")
    assert "Traceback" not in got.output
    assert [part for part in parts if part not in last] == []


def test_the_table_shows_what_the_result_says(attack):
    got = attack("net", "--attack", "fgsm", "--attack", "pgd:steps=5,rel_step_size=0.5", "--json", "r.json")
    assert got.exit_code == 0
    result = Result.from_json(Path("r.json").read_text())
    assert 0 < result.robust.accuracy < result.clean.accuracy < 1
    worst = next(line for line in got.stdout.splitlines() if "robust accuracy" in line)
    assert f"{result.robust.accuracy:.1%}" in worst
    assert "64 mnist test images (0..63)" in got.stdout
    assert result.threat.eps == "0.1"
    assert result.provenance.command.startswith("advbench")


def test_json_on_stdout_is_the_result_and_nothing_else(attack):
    got = attack("net", "--json", "-")
    found = json.loads(got.stdout)
    assert set(found["robust"]) >= {"accuracy", "low", "high", "n"}
    assert found["robust"]["low"] <= found["robust"]["accuracy"] <= found["robust"]["high"]
    assert "images/s" in got.stderr


def test_markdown_on_stdout_is_the_table_and_nothing_else(attack):
    got = attack("net", "--markdown", "-")
    rows = [line for line in got.stdout.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows] == ["", ":--", "clean accuracy", "fgsm", "robust accuracy"]


def test_the_same_seed_gives_the_same_rows_whatever_the_batch_size(attack):
    def rows(*words):
        return json.loads(attack("net", "--attack", "pgd:steps=3,rel_step_size=0.5", "--json", "-", *words).stdout)

    one, other = rows("--batch-size", 64), rows("--batch-size", 7)
    assert [row["robust"] for row in one["rows"]] == [row["robust"] for row in other["rows"]]


def test_a_list_of_eps_gives_a_falling_curve_and_its_picture(attack):
    got = attack("net", "--eps", "0.2,0.05", "--curve", "c.png", "--json", "-")
    assert got.exit_code == 0
    low, high = json.loads(got.stdout)
    assert (low["threat"]["eps"], high["threat"]["eps"]) == ("0.05", "0.2")
    assert low["clean"] == high["clean"]
    assert low["clean"]["accuracy"] >= low["robust"]["accuracy"] > high["robust"]["accuracy"]
    with Image.open("c.png") as drawn:
        assert np.asarray(drawn.convert("L")).min() < 100


def test_the_figure_is_drawn_with_and_without_a_run_directory(attack):
    assert attack("net", "--figure", "a.png").exit_code == 0
    assert attack("net", "--figure", "b.png", "--out", "run").exit_code == 0
    a, b = (np.asarray(Image.open(io.BytesIO(Path(name).read_bytes()))) for name in ("a.png", "b.png"))
    assert np.array_equal(a, b)


def test_masked_gradients_do_not_stop_the_attack_but_end_it_with_3(attack):
    got = attack("coarse_later", "--eps", "0.3", "--preflight", "fast", "--json", "r.json")
    in_one_line(got, 3, "can't be trusted", "unbounded_attack_fails")
    assert "robust accuracy" in got.stdout
    flags = {flag.name: flag.level for flag in Result.from_json(Path("r.json").read_text()).flags}
    assert flags["unbounded_attack_fails"] == "invalid"
    assert attack("coarse_later", "--eps", "0.3").exit_code == 0  # nothing looked at by default here


def test_a_figure_of_nothing_is_inconclusive(attack):
    in_one_line(attack("net", "--eps", "0", "--figure", "a.png"), 5, "nothing to draw")


def test_indices_choose_the_images(attack, tmp_path):
    (tmp_path / "which.txt").write_text("7\n3, 11\n")
    found = json.loads(attack("net", "--indices", "which.txt", "--json", "-").stdout)
    assert [row["index"] for row in found["rows"]] == [7, 3, 11]
    (tmp_path / "which.txt").write_text("7 2-4")
    found = json.loads(attack("net", "--indices", "which.txt", "--json", "-").stdout)
    assert [row["index"] for row in found["rows"]] == [7, 2, 3, 4]
    found = json.loads(attack("net", "--indices", "9-10,0", "--json", "-").stdout)
    assert [row["index"] for row in found["rows"]] == [9, 10, 0]


def test_the_default_cascade_orders_attacks_as_it_must(run):
    got = run(
        "attack",
        "mine.py:net",
        "--data",
        "mnist",
        "--norm",
        "l2",
        "--eps",
        "1.5",
        "-n",
        "16",
        "--preflight",
        "none",
        "--json",
        "-",
    )
    found = json.loads(got.stdout)
    assert [report["name"] for report in found["attacks"]] == ["fgsm", "apgd", "apgd", "apgd", "cw"]
    assert [(report["spec"], report["runs"]) for report in found["attacks"]][3] == ("apgd:loss=dlr,targets=9", 9)
    left = [report["after"]["accuracy"] for report in found["attacks"]]
    assert left == sorted(left, reverse=True)
    assert found["robust"]["accuracy"] == left[-1]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--eps", "8/0"], ["'8/0'", "not a number"]),
        (["--eps", "-0.1"], ["negative"]),
        (["--eps", "nan"], ["not a number"]),
        (["--eps", "8"], ["8/255"]),
        (["--eps", "0.1,0.1"], ["each eps only once"]),
        (["--norm", "linff"], ["'linff'", "'linf'"]),
        (["--norm", "l2", "--eps", "0.5", "--attack", "pgdd"], ["'pgdd'", "'pgd'"]),
        (["--attack", "pgd:step=3"], ["'step'", "'steps'"]),
        (["--attack", "pgd:steps=many"], ["steps='many'"]),
        (["--attack", "pgd:steps=-1"], ["steps"]),
        (["--data", "minst"], ["'minst'", "'mnist'"]),
        (["-n", "10001"], ["10,000", "10,001"]),
        (["--curve", "c.png"], ["several", "--eps"]),
        (["--figure", "c.gif"], ["c.gif", ".png"]),
        (["--figure", "no/such/c.png"], ["no/such/c.png"]),
        (["--json", "-", "--markdown", "-"], ["stdout"]),
        (["--json", "."], ["folder"]),
        (["--resume"], ["--out"]),
    ],
)
def test_wrong_options_are_refused_before_any_attack(attack, words, parts):
    in_one_line(attack("net", *words), 2, *parts)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"1\n2\nthree\n", "'three'"),
        (b"1 -2", "'-2'"),
        (b"", "''"),
        (b"1 2 2", "image 2 more than once"),
        (b"1 10000", "ends at 9999"),
        (b"\xff\xfe\x00", "not text"),
        (b"99999999999999999999", "'999999"),
        (b"1-3 2", "image 2 more than once"),
        (b"0-10000", "ends at 9999"),
        (b"0-999999999", "ends at 9999"),
        (b"3-1", "ends before it begins"),
        (b"3-", "'3-'"),
    ],
)
def test_indices_that_make_no_sense_are_refused(attack, tmp_path, content, part):
    (tmp_path / "which.txt").write_bytes(content)
    in_one_line(attack("net", "--indices", "which.txt"), 2, "which.txt", part)


def test_indices_and_n_are_not_both_taken(run, tmp_path):
    (tmp_path / "which.txt").write_text("1")
    got = run("attack", "mine.py:net", "--data", "mnist", "-n", "3", "--indices", "which.txt")
    in_one_line(got, 2, "not both")
    in_one_line(run("attack", "mine.py:net", "--data", "mnist", "--indices", "none.txt"), 2, "none.txt")


def test_a_norm_without_eps_is_refused_where_the_default_is_for_another_norm(run):
    in_one_line(run("attack", "mine.py:net", "--data", "mnist", "--norm", "l2"), 2, "--norm l2", "--eps")


def test_images_that_are_not_here_exit_with_4(run):
    got = run("attack", "mine.py:colours", "--data", "cifar10", "-n", "1001")
    in_one_line(got, 4, "advbench data fetch cifar10")


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("scalar", ["logits [B, K]"]),
        ("colours", ["can't be called on images [28, 28, 1]"]),
        ("three", ["3"]),
        ("broken", ["out of luck"]),
        ("absent", ["'absent'"]),
    ],
)
def test_a_model_that_can_not_be_run_is_refused(attack, model, parts):
    in_one_line(attack(model), 2, *parts)


@pytest.mark.parametrize(("model", "flag"), [("nan", "nonfinite_outputs"), ("softmax", "probabilities")])
def test_a_model_whose_numbers_would_mean_nothing_exits_with_3(attack, model, flag):
    got = attack(model, "--json", "r.json")
    in_one_line(got, 3, flag, "--force")
    assert f"invalid: {flag}" in got.stderr
    forced = attack(model, "--json", "r.json", "--force")
    in_one_line(forced, 3, "can't be trusted", flag)
    result = Result.from_json(Path("r.json").read_text())
    assert flag in {found.name for found in result.flags if found.level == "invalid"}
    assert f"invalid: {flag}" in forced.stdout


def test_an_image_with_nan_logits_is_never_robust(attack):
    attack("nan", "--force", "--json", "r.json")
    result = Result.from_json(Path("r.json").read_text())
    assert any(not row.finite for row in result.rows)
    assert not any(row.robust for row in result.rows if not row.finite)


def test_an_existing_run_is_kept_and_resumed(attack):
    assert attack("net", "--out", "run").exit_code == 0
    before = Path("run/result.json").read_text()
    in_one_line(attack("net", "--out", "run"), 2, "--resume")
    assert attack("net", "--out", "run", "--resume").exit_code == 0
    assert Path("run/result.json").read_text() == before
    in_one_line(attack("net", "--out", "run", "--resume", "--eps", "0.2"), 2, "eps (was 1/10, is 1/5)")


def test_a_model_without_data_must_be_told_which(run):
    in_one_line(run("attack", "mine.py:net"), 2, "--data")
    in_one_line(run("attack", "smallcn"), 2, "smallcn")


def test_verify_agrees_and_sees_a_changed_claim(attack, run, tmp_path):
    attack("net", "--out", "run")
    in_one_line(run("verify", "run"), 2, "--model mine.py:net")
    got = run("verify", "run", "--model", "mine.py:net")
    assert got.exit_code == 0, got.output
    assert "FAIL" not in got.stdout
    path = tmp_path / "run" / "result.json"
    path.write_text(
        re.sub(r'"robust": \{\s*"accuracy": [0-9.]+', '"robust": {"accuracy": 0.99', path.read_text(), count=1)
    )
    in_one_line(run("verify", "run", "--model", "mine.py:net"), 3, "do not hold")
    assert json.loads(run("verify", "run", "--model", "mine.py:net", "--json").stdout)["verified"] is False
    in_one_line(run("verify", "run", "--model", "mine.py:blind"), 3, "do not hold")
    in_one_line(run("verify", "nowhere"), 2, "nowhere")


def test_a_time_budget_ends_with_5_and_names_what_it_skipped(attack):
    got = attack("net", "--attack", "fgsm", "--attack", "cw:steps=100000000,abort_early=false", "--time-limit", "1s")
    in_one_line(got, 5, "the time limit was reached", "cw:steps=")
    assert "upper bound" in " ".join(got.stdout.split())


@pytest.mark.parametrize("text", ["soon", "0s", "-5s", "5 days"])
def test_a_budget_that_is_no_time_is_refused(attack, text):
    in_one_line(attack("net", "--time-limit", text), 2, "60s, 5m or 1h")


def test_a_budget_can_not_be_resumed(attack):
    in_one_line(attack("net", "--time-limit", "9s", "--out", "run", "--resume"), 2, "can't be resumed")


def test_a_randomised_model_is_averaged_and_says_so(attack):
    got = attack("noisy", "--eot-samples", "3", "--json", "-")
    assert got.exit_code == 0, got.output
    result = json.loads(got.stdout)
    (flag,) = [flag for flag in result["flags"] if flag["name"] == "randomised"]
    assert flag["level"] == "note" and flag["evidence"]["draws"] == 3
    assert result["attacks"][0]["gradients"] == 3 * result["attacks"][0]["tried"]
    in_one_line(attack("net", "--eot-samples", "3"), 2, "randomised models")


def test_names_and_numbers_as_papers_write_them(attack):
    got = attack("net", "--data", "MNIST", "--norm", "L_inf", "--eps", "25.5/255", "--attack", "FGSM", "--json", "-")
    found = json.loads(got.stdout)
    assert (found["data"]["name"], found["threat"]["norm"], found["threat"]["eps_exact"]) == ("mnist", "linf", "1/10")
    assert found["attacks"][0]["spec"] == "fgsm" and found["threat"]["eps"] == "25.5/255"
