"""The site has every document, and an entry for everything that its Python interface offers."""

import re

import pytest
import yaml

import advbench
from advbench.attacks import ATTACKS
from advbench.defenses import DEFENSES
from advbench.wrappers import WRAPPERS

from .documents import ROOT, documents, problem_of_name

CONFIGURATION = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = {document.name: document.text for document in documents() if document.name.startswith("docs/")}
ENTRIES = {name: re.findall(r"^::: (\S+)$", text, re.MULTILINE) for name, text in PAGES.items()}


def navigation(tree):
    for entry in tree:
        for place in entry.values():
            yield from navigation(place) if isinstance(place, list) else [place]


def test_every_page_is_in_the_navigation_and_once():
    listed = list(navigation(yaml.safe_load(CONFIGURATION)["nav"]))
    others = ["CONTRIBUTING.md", "CHANGELOG.md", "examples/ci/README.md", "examples/own-data/README.md"]
    assert sorted(listed) == sorted([*others, *(name.removeprefix("docs/") for name in PAGES)])
    assert [name for name in others if not (ROOT / name).is_file()] == []


def test_every_page_is_on_the_map_of_the_index():
    links = re.findall(r"\]\(([\w./-]+\.md)", PAGES["docs/index.md"])
    missing = {name.removeprefix("docs/") for name in PAGES if "/api/" not in name} - {*links, "index.md"}
    assert missing == set() and "api/index.md" in links


@pytest.mark.parametrize("name", [name for name, entries in ENTRIES.items() if entries])
def test_every_entry_of_the_reference_exists(name):
    assert [problem for entry in ENTRIES[name] if (problem := problem_of_name(entry))] == []


@pytest.mark.parametrize(
    ("page", "offered"),
    [
        ("index", {f"advbench.{name}" for name in advbench.__all__}),
        ("attacks", {f"advbench.attacks.{attack.__name__}" for attack in ATTACKS.values()}),
        (
            "defenses",
            {f"advbench.defenses.{kind.__name__}" for name, kind in DEFENSES.items() if not name.startswith("awp-")},
        ),
        ("wrappers", {f"{wrapper.__module__}.{wrapper.__name__}" for wrapper in WRAPPERS.values()}),
    ],
)
def test_the_reference_has_everything_that_is_offered(page, offered):
    assert offered - set(ENTRIES[f"docs/api/{page}.md"]) == set()
