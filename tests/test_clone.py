"""The repository stands alone: nothing in it reads or names what lies outside a clone."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".json", ".cc", ".sh", ".html", ".css", ".js", ".cff", ".txt", ""}
SKIPPED = {".git", ".coverage", "build", "dist", "site", "runs", "__pycache__", "node_modules"}
PATTERNS = {
    "a folder beside the clone": re.compile(r"(?<![\w./])\.\./shared\b|\bshared/(?:oracles|notes|design|words)"),
    "a home or work folder": re.compile(r"(?<![\w.<])/(?:home|root|work|Users)/\w"),
}


def files():
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in (".ci", ".github") for part in parts[:-1])
        if (
            path.is_file()
            and path.suffix in TEXT
            and not hidden
            and not SKIPPED & set(parts)
            and path != Path(__file__)
        ):
            yield path


def outside(path: Path, text: str) -> list[str]:
    """Everything in the text of a file at `path`, relative to the root, that leads out of the repository."""
    found = [f"{what}: {match[0]}" for what, pattern in PATTERNS.items() for match in pattern.finditer(text)]
    depth = len(path.parts) - 1  # `parents[depth]` is the root
    if path.suffix == ".py":
        found += [
            f"parents[{n}]"
            for n in re.findall(r"__file__\)(?:\.resolve\(\))?\.parents\[(\d+)\]", text)
            if int(n) > depth
        ]
    return found


def test_nothing_leads_out_of_the_clone():
    everything = {str(path.relative_to(ROOT)): path for path in files()}
    assert {"Makefile", "README.md", "tests/conftest.py", ".ci/run"} <= set(everything)
    wrong = {
        name: found
        for name, path in everything.items()
        if (found := outside(Path(name), path.read_text(errors="replace")))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "text",
    [
        'Path(__file__).parents[3] / "data"',
        "Path(__file__).resolve().parents[3]",
        'open("../' + "sha" + 'red/oracles/x.npz")',
        "see `/ho" + "me/someone/file`",
    ],
)
def test_the_check_sees_what_leads_out(text):
    assert outside(Path("tests/advbench/test_x.py"), text)


def test_the_check_lets_the_root_pass():
    assert outside(Path("tests/advbench/test_x.py"), "Path(__file__).parents[2]") == []
