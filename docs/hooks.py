"""Bring documents from outside of docs/ into the site, and make links fit there.

In the repository a link is relative to the file it is in. In the site docs/ is the root, and CONTRIBUTING.md,
CHANGELOG.md and the examples are beside its pages.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "examples/**/*")
HOME = {"README.md": "docs/index.md"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^\|.*\\\|.*$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside of docs/."""
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links, except in code blocks, and pipes in table cells."""
    uri = page.file.src_uri
    own = f"docs/{uri}" if Path(page.file.abs_src_path).is_relative_to(config.docs_dir) else uri

    def site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(own), match[0]))
        target = HOME.get(target, target).removeprefix("docs/")
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    parts = FENCE.split(markdown)
    parts[::2] = [CELL.sub(_cells, LINK.sub(site, part)) for part in parts[::2]]
    return "".join(parts)


def _cells(row: re.Match[str]) -> str:
    r"""Write `\|` within code as GitHub reads it: Python-Markdown shows the backslash."""
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), row[0])
