"""What `make test-integrations` says of what is not there, and that it lets no test be skipped."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILE = TESTS / "integrations.py"
_spec = importlib.util.spec_from_file_location("integrations", FILE)
integrations = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(integrations)


@pytest.mark.parametrize(("there", "user", "says"), [((), 0, "no apt-get"), (("apt-get",), 1000, "only root")])
def test_a_browser_that_can_not_be_had_is_explained(monkeypatch, there, user, says):
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert says in integrations.chromium()


def test_a_browser_that_is_there_is_taken(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "google-chrome" else None)
    assert integrations.chromium() is None


def test_what_apt_get_complains_of_is_told(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "apt-get" else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(integrations, "failed", lambda command, **_: "E: no route" if "update" in command else None)
    assert integrations.chromium() == "apt-get update failed: E: no route"


def test_a_server_for_older_pythons_alone_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(integrations, "SERVER", tmp_path)
    monkeypatch.setattr(integrations, "NEWEST", (3, 9))
    assert "no Python after 3.9" in integrations.mlserver()


SAMPLE = """
import pytest

@pytest.mark.integration(needs="here")
def test_here():
    {body}

@pytest.mark.integration(needs="gone")
def test_gone():
    raise AssertionError("this machine lacks it")

def test_other():
    raise AssertionError("not an integration")
"""


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [("pass", [], 0), ("pass", ["--all"], 1), ("pytest.skip('no')", [], 1), ("raise ValueError", [], 1)],
)
def test_a_skip_is_a_failure_and_what_is_lacking_only_on_request(tmp_path, body, words, code):
    (tmp_path / "test_sample.py").write_text(SAMPLE.format(body=body))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = integration(needs)\naddopts = -m 'not integration'\n")
    run = f"""
import pathlib, runpy, sys
main = runpy.run_path({str(FILE)!r})["main"]
main.__globals__.update(
    ROOT=pathlib.Path(), TESTS=pathlib.Path(), BRING={{"gone": lambda: "out of stock", "here": lambda: None}}
)
sys.exit(main())
"""
    words = [sys.executable, "-c", run, *words, "-p", "no:cacheprovider", "-p", "no:advbench"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.count("not tested: gone: out of stock") == 2
    assert ("skipped: test_sample.py::test_here: Skipped: no" in done.stdout) == ("skip" in body)
    assert "1 deselected" not in done.stdout and "2 deselected" in done.stdout


def test_no_test_waits_for_a_package_unseen():
    """A package that the `test` group brings is imported; what it does not bring is marked `integration`."""
    waits = "importor" + "skip"
    assert [path.name for path in TESTS.rglob("*.py") if waits in path.read_text()] == []
