"""Common ground of all commands: help, listings, errors, closed pipes."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from advbench import __version__
from advbench.attacks import ATTACKS, SUITES
from advbench.cli import app
from advbench.data import DATASETS
from advbench.defenses import DEFENSES
from advbench.models.load import released
from advbench.nn import MODELS
from advbench.wrappers import WRAPPERS


def named(node, words=()):
    """The words of every command and of every group of commands, with what they name."""
    for name, inner in getattr(node, "commands", {}).items():
        yield (*words, name), inner
        yield from named(inner, (*words, name))


COMMANDS = dict(named(get_command(app)))


def test_help_names_every_command(run):
    shown = {words: set(re.findall(r"[\w-]+", run(*words[:-1], "--help").stdout)) for words in COMMANDS}
    assert [words for words in COMMANDS if words[-1] not in shown[words]] == []
    assert {("attack",), ("corruptions",), ("report",), ("compare",), ("history",), ("data", "fetch")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(run, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    got = run(*words, "--help")
    assert got.exit_code == 0
    assert f"Usage: advbench {' '.join(words)} " in " ".join(got.stdout.split())

    assert COMMANDS[words].help


def test_version(run):
    assert run("--version").stdout == f"advbench {__version__}\n"


@pytest.mark.parametrize(
    ("kind", "registry"),
    [
        ("attacks", ATTACKS),
        ("defenses", DEFENSES),
        ("networks", MODELS),
        ("models", released()),
        ("datasets", DATASETS),
        ("input-defenses", WRAPPERS),
    ],
)
def test_the_list_is_the_registry(run, kind, registry):
    entries = json.loads(run("list", kind, "--json").stdout)
    assert set(registry) <= {entry["name"] for entry in entries}
    table = run("list", kind).stdout
    assert [name for name in registry if name not in table] == []


@pytest.mark.parametrize(
    ("kind", "registry"), [("attacks", ATTACKS), ("defenses", DEFENSES), ("input-defenses", WRAPPERS)]
)
def test_the_detail_of_a_name_documents_each_of_its_settings(run, kind, registry):
    for name, cls in registry.items():
        told = run("list", kind, "--detail", name).stdout
        for setting in dataclasses.fields(cls):
            assert re.search(rf"^{setting.name} : .*\n    \S", told, re.M), (name, setting.name)
        assert cls.paper in told or kind == "input-defenses"
        assert ">>>" not in told


def test_a_detail_that_there_is_not_is_refused(run):
    assert "did you mean 'pgd'" in run("list", "attacks", "--detail", "pdg").stderr
    assert "--detail is for attacks, defenses" in run("list", "models", "--detail", "mnist-pgd").stderr


def test_settings_as_listed_can_be_typed(run):
    from advbench.core.spec import build

    entries = {entry["name"]: entry for entry in json.loads(run("list", "attacks", "--json").stdout)}
    assert set(entries) == {*ATTACKS, *SUITES}
    for entry in (entries[name] for name in ATTACKS):
        typed = ",".join(f"{key}={value}" for key, value in entry["settings"].items())
        assert build("attack", f"{entry['name']}:{typed}", ATTACKS) == ATTACKS[entry["name"]]()
        assert entry["paper"]
        assert entry["norms"] and entry["cost"] and entry["access"] in ("gradient", "score", "decision", "none")


def test_data_info_tells_what_is_embedded(run):
    found = {(entry["name"], entry["split"]): entry for entry in json.loads(run("data", "info", "--json").stdout)}
    assert found["mnist", "test"]["available"] == 10_000
    assert found["cifar10", "test"]["available"] == 1_000
    assert found["cifar100", "train"]["available"] == 0
    assert "advbench data fetch cifar100" in run("data", "info").stdout


def test_data_fetch_says_what_is_missing(run, tmp_path):
    (tmp_path / "empty").mkdir()
    got = run("data", "fetch", "fashion-mnist", "--from", "empty")
    assert got.exit_code == 4
    assert "place these files in" in got.stderr
    got = run("data", "fetch", "fashion-mnst")
    assert got.exit_code == 2
    assert "did you mean 'fashion-mnist'" in got.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["atack"], "no such command 'atack'"),
        (["attack"], "missing argument 'MODEL'"),
        (["attack", "x", "--esp", "1"], "no such option"),
        (["attack", "x", "-n", "0"], "invalid value for '-n'"),
        (["list", "atacks"], "'atacks' is not one of"),
        (["data", "fech"], "no such command 'fech'"),
    ],
)
def test_typing_errors_exit_with_2(run, words, says):
    got = run(*words)
    assert got.exit_code == 2
    message, advice = got.stderr.splitlines()
    assert message.startswith("advbench: ") and says in message
    assert re.fullmatch(r"Try: advbench( (attack|list|data))? --help", advice)


def test_a_bug_shows_its_traceback_and_exits_with_4(run, monkeypatch):
    def broken(*_):
        raise KeyError("nobody thought of this")

    monkeypatch.setattr("advbench.cli.listing.ENTRIES", {"attacks": broken})
    got = run("list", "attacks")
    assert got.exit_code == 4
    assert "KeyError: 'nobody thought of this'" in got.stderr
    assert "bug in advbench" in got.stderr


def test_a_closed_stdout_is_no_error_to_talk_about():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "advbench", "list", "datasets"]
    got = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert got.stderr == ""
    assert got.returncode == 141


def test_no_colour_and_narrow_pipes_get_plain_short_lines():
    environment = {**os.environ, "COLUMNS": "40", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "advbench", "list", "datasets"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 40
    assert all(name in text for name in DATASETS)


def test_a_full_disk_behind_stdout_is_told_in_one_line():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "advbench", "list", "datasets"]
        got = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert got.stderr.splitlines() == ["advbench: the output is incomplete: No space left on device"]
    assert got.returncode == 4


@pytest.mark.parametrize(("name", "code"), [("datasets", 0), ("nonsense", 2)])
def test_without_any_stdout_the_exit_code_still_tells(name, code):
    command = f"exec {sys.executable} -m advbench list {name} >&-"
    got = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert got.returncode == code
    assert "Traceback" not in got.stderr
