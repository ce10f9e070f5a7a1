"""Eight devices, and two processes, give what one device gives, up to rounding."""

import json
import os
import signal
import socket
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import processes

BASE = {"ADVBENCH_NATIVE": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
RUN = [
    *["mnist", "--arch", "mlp", "--defense", "pgd:steps=3,rel_step_size=0.5", "--norm", "l2", "--eps", "1"],
    *["--epochs", "3", "--validation", "60", "--batch-size", "32", "--train-size", "380"],
    *["--mix", "cutmix", "--augment", "crop-flip"],
]
"""By L2: the signs of Linf turn with the rounding of gradients near 0, and then all the rest differs."""
TOGETHER = ["train", *RUN, "--distributed"]
ATTACK = [
    "--attack",
    "pgd:steps=5,rel_step_size=0.5",
    "-n",
    "48",
    "--batch-size",
    "16",
    "--preflight",
    "none",
    "--json",
    "-",
]
# Several commands in one process, which starts once: their arguments are given as JSON.
SERIES = """
import json, sys
from typer.testing import CliRunner
from advbench.cli import app
for arguments in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
print(done.stdout)
"""
# The end of a job alone, which a training reaches in whatever order: the process of this number comes a second late.
LATE = """
import sys, time
from advbench.api.runtime import prepare
prepare()
import jax
from advbench.cli.cluster import join, together
join()
with together():
    time.sleep(jax.process_index() == int(sys.argv[1]))
"""


def start(*arguments, devices=1, **options):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return processes.start(*arguments, **BASE, XLA_FLAGS=flags, **options)


def ended(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def pair(*arguments, **options):
    """Two processes of one job on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2"}
    return [start(*arguments, **options, **job, JAX_PROCESS_ID=str(i)) for i in range(2)]


def weights(out):
    return load_file(out / "model.safetensors")


def assert_close(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4, err_msg=name)


def series(*commands):
    """Run commands one after the other; return what the last one prints."""
    return (json.dumps([[str(word) for word in command] for command in commands]),)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Trained on one device, and attacked there."""
    out = tmp_path_factory.mktemp("alone") / "run"
    commands = ["train", *RUN, "--out", out], ["attack", out, *ATTACK]
    return out, ended(start(*series(*commands), program=SERIES))


@pytest.fixture(scope="module")
def eight(alone, tmp_path_factory):
    """Trained on eight devices; what one device trained, attacked on eight."""
    out = tmp_path_factory.mktemp("eight") / "run"
    commands = ["train", *RUN, "--out", out], ["attack", alone[0], *ATTACK]
    return out, ended(start(*series(*commands), program=SERIES, devices=8))


def test_eight_devices_train_the_same_network(alone, eight):
    assert_close(alone[0], eight[0])


def test_eight_devices_find_the_same_images_broken(alone, eight):
    one, many = (json.loads(printed) for _, printed in (alone, eight))
    assert many["clean"] == one["clean"]
    differ = [a for a, b in zip(one["rows"], many["rows"], strict=True) if a["broken_by"] != b["broken_by"]]
    assert len(differ) <= 1  # an image at the very edge
    assert 0 < one["robust"]["correct"] < 48


@pytest.mark.parametrize("late", [0, 1])
def test_a_job_ends_well_whichever_process_is_done_last(late):
    for process in pair(late, program=LATE):
        assert ended(process) == ""


def test_two_processes_train_the_same_network_though_each_dies_once(alone, tmp_path):
    """First the process that writes dies, then the other one of the job that goes on: what is left stops."""
    out = tmp_path / "run"
    for victim, resume in ((0, ()), (1, ("--resume",))):
        job = pair(*TOGETHER, "--out", out, *resume)
        wait_for_checkpoint(out, job)
        job[victim].kill()
        _, told = job[1 - victim].communicate(timeout=120)
        job[victim].communicate()
        assert job[victim].returncode == -signal.SIGKILL
        if job[1 - victim].returncode:  # else it was done before it noticed
            assert job[1 - victim].returncode == 4, told
            lines = [line for line in told.splitlines() if line.startswith("advbench:")]
            assert len(lines) == 1
            assert "start all of them again with --resume" in lines[0], told
            assert "Traceback" not in told
    first, second = pair(*TOGETHER, "--out", out, "--resume")
    told = ended(first)
    assert ended(second) == ""  # only one talks and writes
    assert "best epoch" in told
    assert_close(alone[0], out)


def wait_for_checkpoint(out, processes):
    """Wait for a checkpoint that was not there before."""
    before, deadline = set(out.glob("checkpoints/[0-9]*")), time.monotonic() + 240
    while not set(out.glob("checkpoints/[0-9]*")) - before:
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_job_to_join_is_one_line(tmp_path):
    process = start("train", *RUN, "--out", tmp_path / "run", "--distributed")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "JAX_COORDINATOR_ADDRESS" in told
    assert told.count("\n") == 1
