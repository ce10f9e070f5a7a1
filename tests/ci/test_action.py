"""The GitHub Action: its scripts, run by bash with stand-ins for `advbench` and `gh`, and nothing pasted into them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.advbench.reports.gates import gate, outcome

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]


def step(name):
    (found,) = [each for each in STEPS if each.get("name") == name]
    return found


class Runner:
    """A folder, an environment, and commands that write down how they were called."""

    def __init__(self, folder):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        (folder / "output").touch()
        self.command("python", f'exec "{sys.executable}" "$@"')
        self.environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GITHUB_OUTPUT": str(folder / "output"),
            "RUNNER_TEMP": str(folder),
        }

    def command(self, name, script):
        file = self.bin / name
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)

    def calls(self, name):
        """The words of each call of a command made by `recording`."""
        file = self.folder / f"{name}.calls"
        return [call.split("\0")[:-1] for call in file.read_text().split("\0\n")[:-1]] if file.exists() else []

    def recording(self, name, script):
        """Each word ended by NUL, each call by NUL and a line's end."""
        self.command(name, f"{{ printf '%s\\0' \"$@\"; printf '\\0\\n'; }} >> \"{self.folder}/{name}.calls\"\n{script}")

    def run(self, name, **environment):
        """As GitHub runs `shell: bash`."""
        script = self.folder / "script.sh"
        script.write_text(step(name)["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


def test_no_expression_is_pasted_into_a_script():
    scripts = [each["run"] for each in STEPS if "run" in each]
    assert len(scripts) >= 4
    assert not [script for script in scripts if "${{" in script]
    assert all(each["shell"] == "bash" for each in STEPS if "run" in each)


def test_every_input_is_described_and_used_and_no_other():
    text = (ROOT / "action.yml").read_text()
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(ACTION["inputs"])
    assert all(each["description"] for each in (ACTION["inputs"] | ACTION["outputs"]).values())


def test_scripts_use_no_variable_that_they_are_not_given():
    always = {"GITHUB_OUTPUT", "RUNNER_TEMP", "PATH"}
    for each in STEPS:
        used = set(re.findall(r"\$\{?([A-Z_]+)", each.get("run", "")))
        assert used <= always | set(each.get("env", {})) | {"MARKER"}, each.get("name")


@pytest.mark.parametrize("code", [0, 1, 3, 5])
def test_the_gate_gets_every_word_whole_and_its_exit_code_is_kept(runner, code):
    runner.recording("advbench", f"exit {code}")
    args = "--min-robust=40%\n--attack=pgd:steps=10,restarts=5\n\n--model-note=$(touch pwned); `touch pwned` a b"
    done = runner.run("Run the gate", TARGET="sub dir/advbench.toml", ARGS=args, REPORTS="all reports")
    assert done.returncode == 0, done.stderr
    (words,) = runner.calls("advbench")
    assert words == [
        "gate",
        "sub dir/advbench.toml",
        *[line for line in args.split("\n") if line],
        "--report=json=all reports/gate.json",
        "--report=markdown=all reports/gate.md",
        "--report=junit=all reports/junit.xml",
        "--report=sarif=all reports/gate.sarif",
        "--report=openmetrics=all reports/metrics.txt",
    ]
    assert not (runner.folder / "pwned").exists()
    assert (runner.folder / "output").read_text() == f"code={code}\n"
    assert (runner.folder / "all reports").is_dir()


def test_reports_are_in_formats_that_there_are():
    from advbench.reports.formats import FORMATS

    (formats,) = re.findall(r"for report in ([^;]+);", step("Run the gate")["run"])
    assert {pair.partition("=")[0] for pair in formats.split()} <= set(FORMATS)


def test_without_a_target_or_arguments_there_is_none(runner):
    runner.recording("advbench", "exit 0")
    assert runner.run("Run the gate", TARGET="", ARGS="", REPORTS="r").returncode == 0
    assert [word.partition("=")[0] for word in runner.calls("advbench")[0]] == ["gate", *["--report"] * 5]


@pytest.mark.parametrize(("code", "ends"), [("1", 1), ("3", 3), ("5", 5), ("", 2)])
def test_the_build_ends_as_the_gate_did(runner, code, ends):
    assert runner.run("Decide the build", CODE=code).returncode == ends
    assert step("Decide the build")["if"] == "always() && steps.gate.outputs.code != '0'"


@pytest.mark.parametrize(("version", "asked"), [("", "/the/action"), ("1.2.3", "advbench==1.2.3")])
def test_what_is_installed(runner, version, asked):
    runner.recording("python", "exit 0")
    assert runner.run("Install advbench", VERSION=version, SOURCE="/the/action").returncode == 0
    assert runner.calls("python") == [["-m", "pip", "install", "--quiet", asked]]


GH = """
case "$*" in
  *--paginate*) printf '%s\\n' $IDS ;;
  *PATCH*comments/66*) exit 1 ;;
  *POST*) exit "${POST:-0}" ;;
esac
"""


def comment(runner, **environment):
    reports = runner.folder / "reports"
    reports.mkdir()
    (reports / "gate.json").write_text(gate(outcome("fail")).to_json())
    runner.recording("gh", GH)
    given = {"GH_TOKEN": "t", "REPOSITORY": "o/r", "NUMBER": "7", "NAME": "default", "REPORTS": "reports"}
    done = runner.run("Comment on the pull request", **given, **environment)
    return done, [(call[call.index("--method") + 1], call[4]) for call in runner.calls("gh") if "--method" in call]


def test_the_first_comment_is_posted_with_the_table(runner):
    done, calls = comment(runner, IDS="")
    assert done.returncode == 0, done.stderr
    assert calls == [("POST", "repos/o/r/issues/7/comments")]
    body = runner.calls("gh")[-1][-1]
    text = Path(body.removeprefix("body=@")).read_text()
    assert text.startswith("<!-- advbench-gate: default -->\n**Gate failed: net**")
    assert "The base branch has no gate" in text


def test_later_ones_replace_it_and_those_of_others_are_let_be(runner):
    done, calls = comment(runner, IDS="66 42 43")
    assert done.returncode == 0, done.stderr
    assert calls == [("PATCH", "repos/o/r/issues/comments/66"), ("PATCH", "repos/o/r/issues/comments/42")]


def test_the_base_branch_is_compared_with(runner):
    (runner.folder / "advbench-base").mkdir()
    (runner.folder / "advbench-base" / "gate.json").write_text(gate(outcome("pass")).to_json())
    comment(runner, IDS="")
    text = Path(runner.calls("gh")[-1][-1].removeprefix("body=@")).read_text()
    assert "Against the base: pass there, fail here" in text


def test_a_fork_that_may_not_comment_fails_no_build(runner):
    done, _ = comment(runner, IDS="", POST="1")
    assert done.returncode == 0
    assert done.stdout.startswith("::warning title=advbench::")


def test_the_gate_of_a_branch_is_kept_where_pull_requests_look_for_it(runner):
    (runner.folder / "reports").mkdir()
    (runner.folder / "reports" / "gate.json").write_text("{}")
    assert runner.run("Keep the gate for pull requests to come", REPORTS="reports").returncode == 0
    assert json.loads((runner.folder / "advbench-base" / "gate.json").read_text()) == {}
    restore, save = (each["with"] for each in STEPS if each.get("uses", "").startswith("actions/cache/"))
    assert restore["path"] == save["path"] == "advbench-base"
    assert save["key"].startswith(restore["restore-keys"])
