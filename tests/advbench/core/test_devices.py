"""Eight devices, and two processes, give what one device gives, up to rounding."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

BASE = {"ADVBENCH_NATIVE": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "80"}
BASE |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}
RUN = [
    *["mnist", "--arch", "mlp", "--defense", "pgd:steps=3,rel_step_size=0.5", "--eps", "0.1", "--epochs", "2"],
    *["--validation", "60", "--batch-size", "32", "--train-size", "380", "--mix", "cutmix", "--augment", "crop-flip"],
]
TOGETHER = ["train", *RUN, "--distributed"]
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


def start(*arguments, devices=1, program=("-m", "advbench"), **environment):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        env={**os.environ, **BASE, "XLA_FLAGS": flags, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Trained on one device."""
    out = tmp_path_factory.mktemp("alone") / "run"
    ended(start("train", *RUN, "--out", out))
    return out


def test_eight_devices_train_the_same_network(alone, tmp_path):
    ended(start("train", *RUN, "--out", tmp_path / "run", devices=8))
    assert_close(alone, tmp_path / "run")


def test_eight_devices_find_the_same_images_broken(alone):
    evaluation = ["attack", alone, "--attack", "pgd:steps=5,rel_step_size=0.5", "-n", "48", "--batch-size", "16"]
    evaluation += ["--preflight", "none", "--json", "-"]
    one, eight = (json.loads(ended(start(*evaluation, devices=n))) for n in (1, 8))
    assert eight["clean"] == one["clean"]
    differ = [a for a, b in zip(one["rows"], eight["rows"], strict=True) if a["broken_by"] != b["broken_by"]]
    assert len(differ) <= 1  # an image at the very edge
    assert 0 < one["robust"]["correct"] < 48


def test_two_processes_train_the_same_network(alone, tmp_path):
    first, second = pair(*TOGETHER, "--out", tmp_path / "run")
    told = ended(first)
    assert ended(second) == ""  # only one talks and writes
    assert "best epoch" in told
    assert_close(alone, tmp_path / "run")


@pytest.mark.parametrize("late", [0, 1])
def test_a_job_ends_well_whichever_process_is_done_last(late):
    for process in pair(late, program=("-c", LATE)):
        assert ended(process) == ""


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_dies_the_other_stops_and_resuming_goes_on(alone, tmp_path, victim):
    out = tmp_path / "run"
    processes = pair(*TOGETHER, "--out", out)
    wait_for_checkpoint(out, processes)
    processes[victim].send_signal(signal.SIGKILL)
    _, told = processes[1 - victim].communicate(timeout=120)
    processes[victim].communicate()
    if processes[1 - victim].returncode:  # else it was done before it noticed
        assert processes[1 - victim].returncode == 4, told
        lines = [line for line in told.splitlines() if line.startswith("advbench:")]
        assert len(lines) == 1
        assert "start all again with --resume" in lines[0], told
        assert "Traceback" not in told
    for process in pair(*TOGETHER, "--out", out, "--resume"):
        ended(process)
    assert_close(alone, out)


def wait_for_checkpoint(out, processes):
    deadline = time.monotonic() + 240
    while not any(out.glob("checkpoints/[0-9]*")):
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_job_to_join_is_one_line(tmp_path):
    process = start("train", *RUN, "--out", tmp_path / "run", "--distributed")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "JAX_COORDINATOR_ADDRESS" in told
    assert told.count("\n") == 1
