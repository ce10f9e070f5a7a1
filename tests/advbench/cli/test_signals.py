"""The first signal asks to stop, the second stops at once, even while a compiled program holds the main thread."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from advbench.cli.signals import listening
from tests.processes import start

# A hash over many rounds is like a compiled program: one long call, with no Python in between.
BUSY = """
import hashlib
from advbench.cli.signals import listening
with listening():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
"""


def wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted(number, capfd):
    before = signal.getsignal(number)
    with listening() as stop:
        assert stop() is None
        os.kill(os.getpid(), number)
        assert wait(stop) == number
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("stopping after this batch") == 1


def test_other_signals_are_not_taken_for_a_stop():
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with listening() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)
        assert stop() is None
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_a_busy_process_at_once(number):
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert "stopping after this batch" in process.stderr.readline()
        process.send_signal(number)
        assert process.wait(timeout=20) == 128 + number


def test_an_interrupted_attack_saves_exits_with_143_and_ends_the_same_once_resumed(run, tmp_path):
    words = ["attack", "mine.py:net", "--data", "mnist", "--attack", "pgd:steps=1000", "--eps", "0.02", "-n", "160"]
    words += ["--preflight", "none"]
    words += ["--batch-size", "16"]
    with start(*words, "--out", "run", cwd=tmp_path) as process:
        journal = tmp_path / "run" / "journal"
        begun = wait(lambda: process.poll() or (journal.is_dir() and len(list(journal.iterdir())) > 1), seconds=300)
        assert begun is True, process.poll() and process.stderr.read()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 143
    assert out == ""
    assert "Traceback" not in err
    assert "--resume" in err.splitlines()[-1]
    assert not (tmp_path / "run" / "result.json").exists()

    resumed = run(*words, "--out", "run", "--resume", "--json", "-")
    whole = run(*words, "--json", "-")
    assert json.loads(resumed.stdout)["rows"] == json.loads(whole.stdout)["rows"]
