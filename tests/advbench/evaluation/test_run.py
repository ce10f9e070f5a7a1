"""What a run directory survives."""

import errno
import json
import os
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from advbench.core.errors import (
    AdvbenchError,
    DataUnavailable,
    Interrupted,
    UsageError,
)
from advbench.evaluation import evaluate, run
from tests.processes import start

from .conftest import attacks, make_data, make_model, run_files, timeless

TEXTS = ("fgsm", "pgd:steps=5,rel_step_size=0.3,restarts=2")
WHOLE = ["adversarial.safetensors", "lock", "result.json", "run.json"]


def go(model, data, threat, out, **options):
    options = {"seed": 0, "batch_size": 16, "attacks": attacks(*TEXTS), "indices": range(60)} | options
    return evaluate(model, data, threat=threat, out=out, **options)


def stopping_after(batches):
    asked = count()
    return lambda: signal.SIGTERM if next(asked) >= batches else None


@pytest.fixture(scope="module")
def whole(model, data, threat):
    return go(model, data, threat, None)


def test_leaves_exactly_these_files(model, data, threat, tmp_path, whole):
    assert timeless(go(model, data, threat, tmp_path / "run")) == timeless(whole)
    assert run_files(tmp_path / "run") == WHOLE


@pytest.mark.parametrize("batches", [0, 1, 5])
def test_resume_after_a_signal_is_identical(model, data, threat, tmp_path, whole, batches):
    with pytest.raises(Interrupted) as stopped:
        go(model, data, threat, tmp_path, should_stop=stopping_after(batches))
    assert stopped.value.exit_code == 143
    assert "--resume" in str(stopped.value)
    seen = []
    result = go(model, data, threat, tmp_path, resume=True, progress=seen.append)
    assert timeless(result) == timeless(whole)
    assert [p.resumed for p in seen] == [True] * batches + [False] * (len(seen) - batches)
    assert run_files(tmp_path) == WHOLE


def test_resume_of_nothing_begins_and_of_a_finished_run_returns_it(model, data, threat, tmp_path, whole):
    first = go(model, data, threat, tmp_path / "new", resume=True)
    assert timeless(first) == timeless(whole)
    assert go(model, data, threat, tmp_path / "new", resume=True, progress=pytest.fail) == first
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == WHOLE


KILLED = """
import sys
from pathlib import Path
from tests.advbench.evaluation.conftest import make_data, make_model
from tests.advbench.evaluation.test_run import go
from advbench.core.spec import ThreatSpec
go(make_model(), make_data(), ThreatSpec.parse("linf", "0.05"), Path(sys.argv[1]), batch_size=1, progress=print)
"""


def test_resume_after_sigkill_is_identical(model, data, threat, tmp_path):
    out = tmp_path / "run"
    with start(out, cwd=Path(__file__).parents[3], program=KILLED) as process:
        for _ in range(5):
            process.stdout.readline()
        with pytest.raises(UsageError, match=f"process {process.pid} is writing to"):
            go(model, data, threat, out, batch_size=1, resume=True)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "result.json").exists()
    resumed = []
    result = go(model, data, threat, out, batch_size=1, resume=True, progress=lambda p: resumed.append(p.resumed))
    assert sum(resumed) >= 5
    assert timeless(result) == timeless(go(model, data, threat, None, batch_size=1))


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: bytes([b[0] ^ 1]) + b[1:], lambda b: b""])
def test_damaged_shard_is_named_and_computed_again(model, data, threat, tmp_path, whole, damage, caplog):
    with pytest.raises(Interrupted):
        go(model, data, threat, tmp_path, should_stop=stopping_after(5))
    shard = sorted((tmp_path / "journal").iterdir())[2]
    shard.write_bytes(damage(shard.read_bytes()))
    seen = []
    result = go(model, data, threat, tmp_path, resume=True, progress=lambda p: seen.append(p.resumed))
    assert timeless(result) == timeless(whole)
    assert seen[:5] == [True, True, False, True, True]
    (message,) = caplog.messages
    assert str(shard) in message
    assert shard.name.split(".")[1] in message


def test_leftovers_of_a_crash_are_ignored(model, data, threat, tmp_path, whole):
    with pytest.raises(Interrupted):
        go(model, data, threat, tmp_path, should_stop=stopping_after(2))
    (tmp_path / "journal" / ".000002.abc.st.99").write_bytes(b"half a sh")
    assert timeless(go(model, data, threat, tmp_path, resume=True)) == timeless(whole)
    assert run_files(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed (was 0, is 1)"),
        ({"batch_size": 8}, "batch size (was 16, is 8)"),
        ({"attacks": attacks("fgsm")}, "attacks (was"),
        ({"each": True}, "each (was False, is True)"),
        ({"indices": range(59)}, "indices (was"),
        ({"model": make_model(digest="others")}, "model (was weights, is others)"),
        ({"data": replace(make_data(), labels=make_data().labels[::-1])}, "data (was"),
    ],
)
def test_resume_refuses_what_changed_and_names_it(model, data, threat, tmp_path, change, named):
    with pytest.raises(Interrupted):
        go(model, data, threat, tmp_path, should_stop=stopping_after(1))
    arguments = {"model": model, "data": data, "threat": threat} | change
    with pytest.raises(UsageError, match="can't resume") as error:
        go(**arguments, out=tmp_path, resume=True)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_resume_refuses_another_eps_or_library(model, data, threat, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        go(model, data, threat, tmp_path, should_stop=stopping_after(1))
    with pytest.raises(UsageError, match=r"eps \(was 1/20, is 1/10\)"):
        go(model, data, type(threat).parse("linf", "0.1"), tmp_path, resume=True)
    monkeypatch.setattr("advbench.evaluation.evaluator.versions", lambda: {"jax": "9.9"})
    with pytest.raises(UsageError, match=r"versions \(was .* is {'jax': '9.9'}\)"):
        go(model, data, threat, tmp_path, resume=True)


def test_eps_written_otherwise_is_the_same(model, data, threat, tmp_path, whole):
    with pytest.raises(Interrupted):
        go(model, data, threat, tmp_path, should_stop=stopping_after(1))
    result = go(model, data, type(threat).parse("linf", "5/100"), tmp_path, resume=True)
    assert result.robust == whole.robust


def test_existing_directory_is_not_overwritten(model, data, threat, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="--resume"):
        go(model, data, threat, tmp_path)
    assert run_files(tmp_path) == ["notes.txt"]
    with pytest.raises(UsageError, match="exists"):
        go(model, data, threat, tmp_path / "notes.txt")


def test_damaged_run_file_is_refused(model, data, threat, tmp_path):
    for content in ("{", "[]", "null"):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(UsageError, match=r"run\.json is damaged"):
            go(model, data, threat, tmp_path, resume=True)


def test_finished_run_with_damaged_images_is_refused(model, data, threat, tmp_path):
    go(model, data, threat, tmp_path)
    path = tmp_path / "adversarial.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match="sha256"):
        go(model, data, threat, tmp_path, resume=True)
    path.write_bytes(content[:100])
    with pytest.raises(UsageError, match="damaged"):
        go(model, data, threat, tmp_path, resume=True)


def test_a_lock_of_a_dead_process_does_not_hold(model, data, threat, tmp_path, whole):
    (tmp_path / "lock").write_text("1\n")
    assert timeless(go(model, data, threat, tmp_path, resume=True)) == timeless(whole)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


FULL_DISK = """
import resource, sys
from pathlib import Path
from advbench.evaluation.run import write
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write(Path(sys.argv[1]), b"x" * 5000)
"""


def test_full_disk_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    _, stderr = start(path, program=FULL_DISK).communicate()
    assert f"no space for {path} (5000 bytes): File too large" in stderr
    assert path.read_text() == "old"
    assert run_files(tmp_path) == ["result.json"]


def test_full_disk_in_mid_run_can_be_resumed(model, data, threat, tmp_path, whole, monkeypatch):
    written, fsync = count(), os.fsync

    def full(descriptor):
        if next(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataUnavailable, match="No space left on device") as error:
        go(model, data, threat, tmp_path)
    assert error.value.exit_code == 4
    assert timeless(go(model, data, threat, tmp_path, resume=True)) == timeless(whole)


def test_unwritable_place_is_one_line(model, data, threat, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AdvbenchError, match="Not a directory"):
        go(model, data, threat, tmp_path / "file" / "run")


def test_stored_images_are_float32_at_their_index(model, data, threat, tmp_path):
    result = go(model, data, threat, tmp_path)
    images = run.load_images(tmp_path)
    assert images.index.tolist() == [row.index for row in result.rows if row.broken_by not in (None, "clean")]
    assert images.x_adv.dtype == np.float32
    assert json.loads((tmp_path / "run.json").read_text())["eps"] == "1/20"
