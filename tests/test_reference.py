"""The reference of the command line is the application's, and whole."""

import re
import runpy

from . import commands
from .documents import ROOT

FILE = ROOT / "docs" / "reference.md"


def test_the_reference_is_what_the_application_says(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    made = runpy.run_path(str(ROOT / "docs" / "reference.py"))["reference"]()
    assert made == FILE.read_text(encoding="utf-8"), "run: make reference"


def test_the_reference_has_every_option_of_the_parser():
    parts = re.split(r"^## `advbench (.*)`$", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(told) == sorted(told, key=list(commands.LEAVES).index) and set(told) == set(commands.LEAVES)
    for name, node in commands.LEAVES.items():
        options = {each for param in node.params for each in commands.spelled(param) if each.startswith("-")}
        words = set(
            re.findall(r"(?<=[`/ ])--?[a-z][a-z-]*", "".join(re.findall(r"^\| `[^`]*`", told[name], re.MULTILINE)))
        )
        assert re.findall(r"^\| `[^`]*` \|\s*\|", told[name], re.MULTILINE) == []  # nothing goes unexplained
        assert words == options - {"--help", "-h"}, name
