"""The examples of `examples/ci`: their commands are run, in their folder, as the build would run them."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from typer.testing import CliRunner

from advbench.cli import app

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "ci"
FILES = {path.name: path.read_text() for path in EXAMPLES.iterdir() if path.is_file()}


def unchecked(text):
    return text.replace('data = "mnist"\n', 'data = "mnist"\nchecks = "none"\n').replace(
        'data="mnist"', 'data="mnist", preflight="none"'
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path, monkeypatch, cache):
    """A repository that copied the examples; without the checks for masked gradients, which are tested elsewhere."""
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    for name, text in FILES.items():
        (tmp_path / name).write_text(unchecked(text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVBENCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    for name in ("JAX_COMPILATION_CACHE_DIR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def invoke(command, **variables):
    """Run `advbench ...` as a shell would, with these variables."""
    for name, value in variables.items():
        command = command.replace(f"${name}", value)
    assert "$" not in command
    program, *words = shlex.split(command)
    assert program.endswith("advbench")
    return CliRunner().invoke(app, words)


def gitlab_job():
    return yaml.safe_load(FILES["gitlab.yml"])[".advbench-gate"]


def test_gitlab_job_writes_every_report_that_it_promises(folder):
    job = gitlab_job()
    (command,) = job["script"]
    done = invoke(command, ADVBENCH_TARGET=job["variables"]["ADVBENCH_TARGET"])
    assert done.exit_code == 0, done.output
    reports = job["artifacts"]["reports"]
    suite = ET.parse(folder / reports["junit"]).getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    names = [case.get("name") for case in suite.iter("testcase")]
    assert {"min_clean", "min_robust linf 0.02"} <= set(names)
    assert not [
        each for each in json.loads((folder / reports["codequality"]).read_text()) if each["severity"] == "critical"
    ]
    assert (folder / reports["metrics"]).read_text().endswith("# EOF\n")
    assert (folder / job["artifacts"]["paths"][0]).read_text().startswith("**Gate passed: ")
    assert job["artifacts"]["when"] == "always"


def test_reports_of_a_gate_that_fails_point_at_the_rule(folder):
    rules = unchecked(FILES["advbench.toml"]).replace('min-clean = "60%"', 'min-clean = "99%"')
    (folder / "advbench.toml").write_text(rules)
    (command,) = re.findall(r"sh '.venv/bin/(advbench gate [^']*)'", FILES["Jenkinsfile"])
    done = invoke(command)
    assert done.exit_code == 1, done.output
    assert len(ET.parse(folder / "junit.xml").getroot().findall(".//failure")) == 1
    (run,) = json.loads((folder / "gate.sarif").read_text())["runs"]
    (result,) = [each for each in run["results"] if each["level"] == "error"]
    place = result["locations"][0]["physicalLocation"]
    line = rules.splitlines()[place["region"]["startLine"] - 1]
    assert (place["artifactLocation"]["uri"], line) == ("advbench.toml", 'min-clean = "99%"')


def test_pre_commit_checks_the_rules(folder):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (repo,) = yaml.safe_load(FILES["pre-commit-config.yaml"])["repos"]
    assert repo["hooks"] == [{"id": hook["id"]}]
    assert re.search(hook["files"], "advbench.toml") and re.search(hook["files"], "pyproject.toml")
    assert not re.search(hook["files"], "sub/other.toml")
    assert invoke(hook["entry"]).exit_code == 0
    (folder / "advbench.toml").write_text(FILES["advbench.toml"].replace("min-robust", "min-robutt"))
    done = invoke(hook["entry"])
    assert done.exit_code == 2
    assert "min-robust" in done.output


def test_the_workflow_gives_the_action_inputs_that_it_has_and_rights_that_it_needs():
    workflow, action = yaml.safe_load(FILES["github.yml"]), yaml.safe_load((ROOT / "action.yml").read_text())
    (step,) = [each for each in workflow["jobs"]["gate"]["steps"] if each.get("uses", "").startswith("OWNER/advbench")]
    assert set(step["with"]) <= set(action["inputs"])
    used = re.findall(rf"steps\.{step['id']}\.outputs\.([a-z-]+)", FILES["github.yml"])
    assert set(used) <= set(action["outputs"])
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write", "security-events": "write"}
    assert "pull_request_target" not in FILES["github.yml"]
    assert not [each for each in workflow["jobs"]["gate"]["steps"] if "${{" in each.get("run", "")]


def test_the_action_of_the_workflow_runs_the_gate(folder):
    """What the action's script would ask for, with the workflow's own arguments."""
    workflow = yaml.safe_load(FILES["github.yml"])
    (given,) = [
        each["with"] for each in workflow["jobs"]["gate"]["steps"] if "with" in each and "target" in each["with"]
    ]
    done = invoke(shlex.join(["advbench", "gate", given["target"], *given["args"].split(), "--report=json=gate.json"]))
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "gate.json").read_text())["verdict"] == "pass"


def test_the_example_test_passes_and_fails_where_more_is_asked_for(folder, monkeypatch, capsys):
    """In a pytest inside of this one, which shares its programs."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    (folder / "test_more.py").write_text(unchecked(FILES["test_robustness.py"]).replace('min="40%"', 'min="99%"'))
    options = ["-p", "no:advbench", "-p", "advbench.pytest_plugin", "-p", "no:cacheprovider", "-q"]
    code = pytest.main([*options, "test_robustness.py", "test_more.py::test_robust_accuracy"])
    said = capsys.readouterr().out
    assert code == 1, said
    assert "1 failed, 2 passed" in said, said
    assert "robustness gate of model:make: fail" in said
    assert re.search(r"is below 99%", said)


def test_every_example_is_told_of():
    assert {name for name in FILES if f"`{name}`" not in FILES["README.md"]} == {"README.md"}
