"""This repository's own workflow: it runs what there is, on each Python that the package claims to run on."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/versions.yml").read_text())
MATRIX = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]


def test_every_python_of_the_package_is_tested():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    claimed = [
        each.rpartition(" ")[2] for each in classifiers if each.startswith("Programming Language :: Python :: 3.")
    ]
    assert MATRIX["python"] == claimed


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", MATRIX["target"])
def test_what_it_makes_can_be_made(target):
    steps = WORKFLOW["jobs"]["test"]["steps"]
    (command,) = [step["run"] for step in steps if "run" in step]
    words = command.replace('"$TARGET"', target).split()
    planned = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    assert "-m pytest" in planned.stdout


def test_it_may_only_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
