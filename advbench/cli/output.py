"""Where results go: the terminal, stdout alone, files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from advbench import files
from advbench.errors import DataUnavailable, UsageError

if TYPE_CHECKING:
    from advbench.evaluation import Result
    from advbench.reports.sheet import Sheet

PICTURES = (".png", ".pdf", ".svg")


def check(json: str | None, markdown: str | None, *pictures: Path | None) -> None:
    """Refuse places that can't be written to, and unknown picture formats, before anything is computed.

    Raises
    ------
    UsageError
        In one line.
    """
    if json == markdown == "-":
        raise UsageError("only one of --json and --markdown can go to stdout")
    for picture in filter(None, pictures):
        if picture.suffix.lower() not in PICTURES:
            raise UsageError(f"{picture} should end in one of {', '.join(PICTURES)}")
    for path in [Path(text) for text in (json, markdown) if text not in (None, "-")] + [p for p in pictures if p]:
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise UsageError(f"can't write {path}: {'a folder' if path.is_dir() else 'no such folder, or locked'}")


def show(sheet: Sheet, json_text: str, json: str | None, markdown: str | None) -> None:
    """Write what was asked for; the table goes to stdout unless something else does."""
    from rich.console import Console

    from advbench.reports import table

    for target, text in ((json, json_text), (markdown, table.markdown(sheet) if markdown else "")):
        if target == "-":
            typer.echo(text, nl=False)
        elif target:
            write(Path(target), text.encode())
    if "-" not in (json, markdown):
        table.show(sheet, Console())


def array(results: Sequence[Result]) -> str:
    """Several results as a JSON array."""
    return "[\n" + ",\n".join(result.to_json().rstrip() for result in results) + "\n]\n"


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    DataUnavailable
        When there is no room for it, or no right to.
    """
    try:
        files.write(path, content)
    except OSError as error:
        raise DataUnavailable(f"can't write {path} ({len(content):,} bytes): {error.strerror}") from None
