"""`advbench train` as a user meets it: killed, interrupted, resumed, mistyped."""

import hashlib
import json
import os
import re
import shlex
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from advbench.cli import app
from tests.processes import start

SMALL = ["--arch", "mlp", "--validation", "64", "--batch-size", "32", "--train-size", "640", "--eps-warmup", "1"]
RUN = ["mnist", *SMALL, "--defense", "pgd:steps=10,rel_step_size=0.25", "--epochs", "8", "--ema", "0.9"]


# What `ulimit -f` does before it starts a command: no file may be larger than so many bytes.
LIMITED = """
import resource
import jax
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
jax.config.update("jax_enable_compilation_cache", False)
from advbench.cli import main
main()
"""


def run(*arguments):
    """Run a command in this process, where jax is there already."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80"})
    return done.exit_code, done.stdout, done.stderr


def train(*arguments):
    return run("train", *arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    process = start("train", *RUN, "--out", out, "--json", "-")
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return out, json.loads(stdout), stderr


def steps(out):
    folder = out / "checkpoints"
    return [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()] if folder.is_dir() else []


def until(out, process, count):
    """Wait for a checkpoint past `count` steps."""
    while max(steps(out), default=0) <= count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def test_a_run_leaves_a_model_its_record_and_its_metrics(whole):
    out, summary, stderr = whole
    manifest = json.loads((out / "model.json").read_text())
    assert manifest["architecture"] == "mlp"
    assert manifest["dataset"] == "mnist"
    record = manifest["record"]
    assert summary == {"model": str(out), **record}
    assert record["command"].startswith("advbench train mnist --arch mlp")
    assert record["threat"] == {"norm": "linf", "eps": "0.3"}
    assert record["recipe"]["seed"] == 0
    assert record["images"]["trained_on"] == 576
    assert record["seconds"] > 0
    assert {"jax", "python"} <= record["versions"].keys()
    assert record["hardware"]["cpus"] == os.cpu_count()
    kinds = [json.loads(line)["kind"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert kinds.count("epoch") == 8
    assert stderr.count("epoch ") == 8
    assert "\x1b" not in stderr


def test_a_run_killed_and_then_terminated_ends_with_the_same_bytes(whole, tmp_path):
    out = tmp_path / "run"
    killed = start("train", *RUN, "--out", out)
    until(out, killed, 0)
    killed.kill()
    killed.communicate()
    assert not (out / "model.safetensors").exists()

    terminated = start("train", *RUN, "--out", out, "--resume")
    until(out, terminated, max(steps(out)))
    terminated.send_signal(signal.SIGTERM)
    _, stderr = terminated.communicate(timeout=600)
    assert terminated.returncode == 143, stderr
    assert "resumed after step" in stderr
    assert "to continue, repeat the command with --resume" in stderr
    assert "Traceback" not in stderr

    code, _, stderr = train(*RUN, "--out", out, "--resume")
    assert code == 0, stderr
    digests = [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() for folder in (out, whole[0])]
    assert digests[0] == digests[1]


def test_a_run_directory_is_not_overwritten_and_another_run_not_resumed(whole):
    out, _, _ = whole
    code, _, stderr = train(*RUN, "--out", out)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "--resume" in stderr
    code, _, stderr = train(*RUN, "--out", out, "--resume", "--eps", "0.2")
    assert code == 2
    assert "threat was linf 0.3, is linf 0.2" in stderr
    assert "Traceback" not in stderr


def test_a_file_size_limit_stands_for_a_full_disk(tmp_path):
    out = tmp_path / "run"
    command = ["train", "mnist", *SMALL, "--defense", "standard", "--epochs", "1", "--out", out]
    process = start(*command, program=LIMITED)
    _, stderr = process.communicate()
    assert process.returncode == 2, stderr
    assert re.search(r"^advbench: can't write checkpoint .*: File too large; earlier ones are intact$", stderr, re.M)
    assert "Traceback" not in stderr
    assert not steps(out)


def test_several_seeds_share_a_table_and_resume(tmp_path):
    images, labels = np.zeros((64, 28, 28, 1), np.uint8), np.arange(64) % 10
    np.savez(tmp_path / "more.npz", image=images, label=labels)
    out = tmp_path / "runs"
    run = ["mnist", *SMALL, "--defense", "standard", "--epochs", "1", "--seeds", "3,5", "--out", out]
    run += ["--extra-data", tmp_path / "more.npz", "--extra-fraction", "0.25", "--mix", "cutmix", "--swa", "0.1"]
    code, stdout, stderr = train(*run)
    assert code == 2, stderr  # of two epochs it averages one
    run += ["--epochs", "3"]
    code, stdout, stderr = train(*run)
    assert code == 0, stderr
    assert [line.split()[0] for line in stdout.splitlines() if re.match(r" *(3|5|mean|deviation) ", line)] == [
        "3", "5", "mean", "deviation",
    ]  # fmt: skip
    summary = json.loads((out / "seeds.json").read_text())
    records = [json.loads((out / f"seed-{n}" / "model.json").read_text())["record"] for n in (3, 5)]
    assert [{k: v for k, v in run.items() if k != "seed"} for run in summary["seeds"]] == records
    assert [record["recipe"]["seed"] for record in records] == [3, 5]
    assert records[0]["images"]["extra"]["trained_on"] == 64
    code, again, _ = train(*run, "--resume", "--json", "-")
    assert code == 0
    assert json.loads(again)["mean"] == summary["mean"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mnits"], "mnist"),
        (["mnist", "--arch", "small-cn"], "small-cnn"),
        (["mnist", "--defense", "trade"], "trades"),
        (["mnist", "--defense", "trades:bta=3"], "beta"),
        (["mnist", "--defense", "pgd:steps=3"], "can't reach the edge"),
        (["mnist", "--eps", "8/0"], "8/0"),
        (["mnist", "--eps", "-1"], "negative"),
        (["mnist", "--eps", "8"], "8/255"),
        (["mnist", "--norm", "l3"], "linf"),
        (["mnist", "--schedule", "cosinus"], "cosine"),
        (["mnist", "--ema", "1"], "ema"),
        (["mnist", "--train-size", "70000"], "60000"),
        (["mnist", "--train-size", "1000"], "can't hold out 1000"),
        (["mnist", "--mix", "cutmic"], "cutmix"),
        (["mnist", "--swa", "0.9", "--epochs", "2"], "two epochs"),
        (["mnist", "--extra-data", "absent.npz"], "can't read absent.npz"),
        (["mnist", "--seeds", "0,x"], "0,1,2"),
        (["mnist", "--seeds", "1,1"], "once"),
        (["mnist", "--seeds", "0,1", "--seed", "3"], "not both"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(arguments, words, tmp_path):
    out = tmp_path / "run"
    code, _, stderr = train(*arguments, "--out", out)
    assert code == (4 if "absent.npz" in arguments else 2)
    assert words in stderr
    assert stderr.count("\n") == 1
    assert not out.exists()


def test_the_documented_gpu_recipe_works_from_end_to_end_at_small_size(tmp_path):
    """Every option as documented; only the network, the data and the counts are small."""
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    lines = re.findall(r"^advbench ((?:.*\\\n)*.*)", page.split("## A strong CIFAR-10 network")[1], re.MULTILINE)
    recipe, judge = (shlex.split(line.replace("\\\n", " ")) for line in lines[:2])
    out = tmp_path / "run"
    small = {"--arch": "mlp", "--epochs": "3", "--batch-size": "64", "--out": str(out)}
    for option, value in small.items():
        recipe[recipe.index(option) + 1] = value
    recipe[1] = "mnist"
    recipe[recipe.index("--defense") + 1] = recipe[recipe.index("--defense") + 1].replace("warmup=10", "warmup=2")
    code, _, stderr = train(*recipe[1:], "--train-size", "320", "--validation", "64")
    assert code == 0, stderr
    assert json.loads((out / "model.json").read_text())["record"]["recipe"]["craft"] == "bfloat16"
    judge[judge.index("-n") + 1] = "4"
    judge[1], judge[-1] = str(out), str(out / "autoattack")
    code, _, stderr = run(*judge)
    assert code in (0, 3), stderr  # of so few images the checks may warn
    assert (out / "autoattack" / "result.json").exists()
