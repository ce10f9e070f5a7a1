"""Output of results: to the terminal, to stdout alone, to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from advbench.core import files
from advbench.core.errors import DataUnavailable, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from advbench.evaluation import Result
    from advbench.reports.sheet import Sheet

PICTURES = (".png", ".pdf", ".svg")


def check(json: str | None, markdown: str | None, *pictures: Path | None, texts: Sequence[str | None] = ()) -> None:
    """Refuse files that cannot be written, and unknown picture formats, before anything is computed.

    `texts` are other outputs: files, or `-` for stdout.

    Raises
    ------
    UsageError
        For the first of them.
    """
    if [json, markdown, *texts].count("-") > 1:
        raise UsageError("only one option, like --json or --markdown, can write to stdout")
    for picture in filter(None, pictures):
        if picture.suffix.lower() not in PICTURES:
            raise UsageError(f"{picture} has no known picture format: use one of {', '.join(PICTURES)}")
    for path in [Path(text) for text in (json, markdown, *texts) if text not in (None, "-")] + [
        p for p in pictures if p
    ]:
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            why = "it is a folder" if path.is_dir() else "its folder does not exist or is not writable"
            raise UsageError(f"can't write {path}: {why}")


def show(
    sheet: Sheet | Sequence[Sheet], json_text: str, json: str | None, markdown: str | None, *, quiet: bool = False
) -> None:
    """Write the outputs asked for; tables go to stdout unless another output does, or `quiet`."""
    from advbench.reports import table
    from advbench.reports.sheet import Sheet

    sheets = [sheet] if isinstance(sheet, Sheet) else sheet
    emit(json, json_text)
    emit(markdown, "\n".join(table.markdown(each) for each in sheets) if markdown else "")
    if "-" not in (json, markdown) and not quiet:
        for each in sheets:
            tabulate(each)


def tabulate(sheet: Sheet, console: Console | None = None) -> None:
    """Print a table to the terminal, in its width."""
    from rich.console import Console

    from advbench.reports.table import terminal

    console = console or Console()
    for part in terminal(sheet, console.width):
        console.print(part)


def say(text: str) -> None:
    """Print a note on stderr."""
    typer.echo(f"advbench: {text}", err=True)


def emit(target: str | None, text: str) -> None:
    """Write a text to a file, to stdout for `-`, or nowhere."""
    if target == "-":
        typer.echo(text, nl=False)
    elif target:
        write(Path(target), text.encode(errors="replace"))


def array(results: Sequence[Result]) -> str:
    """Several results as a JSON array."""
    return "[\n" + ",\n".join(result.to_json().rstrip() for result in results) + "\n]\n"


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    DataUnavailable
        When the disk is full, or permission is missing.
    """
    try:
        files.write(path, content)
    except OSError as error:
        raise DataUnavailable(f"can't write {path} ({len(content):,} bytes): {error.strerror}") from None
