"""Rendering of sheets as terminal tables and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from advbench.reports.sheet import Sheet

if TYPE_CHECKING:
    from rich.console import RenderableType

STYLES = {"legend": "dim", "note": "yellow", "invalid": "bold red"}
NARROWEST = 16  # smallest width of the first column, in characters
GAP = 2  # between columns
EDGES = 2


def terminal(sheet: Sheet, width: int) -> Iterator[RenderableType]:
    """Render a sheet for a terminal: if it is too wide, drop the last columns, then fold the first one.

    Parameters
    ----------
    sheet : Sheet
        The table.
    width : int
        Width of the terminal in characters.

    Yields
    ------
    RenderableType
        Title, table and notes, for Rich to print.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown, room = _fitting(sheet, width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    headers = [_stacked(printable(name)) for name in sheet.header[:shown]]
    tallest = max(header.count("\n") for header in headers)
    for at, header in enumerate(headers):
        lowered = "\n" * (tallest - header.count("\n")) + header
        table.add_column(Text(lowered), justify="right" if at else "left", overflow="fold")
    for row in sheet.rows:
        name = row[0] if len(row[0]) <= room else row[0].replace(",", ",\n")
        last = sheet.verdict and row is sheet.rows[-1]
        table.add_row(*(Text(printable(cell)) for cell in (name, *row[1:shown])), style="bold" if last else "")
    yield Text(printable(sheet.title), style="bold")
    yield table
    for note in sheet.notes:
        yield Text(printable(note.text), style=STYLES[note.level])


def markdown(sheet: Sheet) -> str:
    """Render a sheet as GitHub-flavoured Markdown, ended by a newline."""
    lines = [f"**{_escaped(sheet.title)}**", ""]
    lines += [_row(sheet.header), "|" + "|".join([" :-- ", *[" --: "] * (len(sheet.header) - 1)]) + "|"]
    lines += [_row(row) for row in sheet.rows]
    lines += [line for note in sheet.notes for line in ("", _escaped(note.text))]
    return "\n".join(lines) + "\n"


def _fitting(sheet: Sheet, width: int) -> tuple[int, int]:
    """Return the number of columns that fit, and the width left for the first one."""

    def widest(at: int) -> int:
        cells = (_stacked(sheet.header[at]), *(row[at] for row in sheet.rows))
        return max(len(line) for cell in cells for line in cell.split("\n"))

    shown = len(sheet.header)
    while True:
        room = width - EDGES - sum(widest(at) + GAP for at in range(1, shown))
        if room >= NARROWEST or shown == sheet.needed:
            return shown, room
        shown -= 1


def _stacked(name: str) -> str:
    """Break a header into lines, such as one attack setting per line, to keep its column narrow."""
    return re.sub(r"(?<=[:,/]) ?|(?<=%) ", "\n", name)


def printable(text: str) -> str:
    """Replace control characters, and break up `::` and `##[`, so that names can't control a terminal or a CI log."""
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return re.sub(r":(?=:)|##(?=\w*\[)", lambda found: found[0] + " ", shown)


def one_line(text: str, limit: int = 1000) -> str:
    """Return the printable text in one line of at most `limit` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|~])", r"\\\1", printable(" ".join(text.split())))
