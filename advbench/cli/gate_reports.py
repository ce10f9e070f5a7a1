"""Reports of a gate: `FORMAT=FILE` is checked before anything is computed, and written at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from advbench.cli.output import check, write
from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.names import found as known_name
from advbench.reports.formats import FORMATS

if TYPE_CHECKING:
    from advbench.gating.verdict import Gate


def wanted(texts: Iterable[str]) -> list[tuple[str, Path]]:
    """Read `FORMAT=FILE`, before anything is computed.

    Raises
    ------
    UsageError
        For an unknown format, a file given twice, or a file that cannot be written.
    """
    found: dict[Path, str] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or not file:
            raise UsageError(f"--report {text} should be FORMAT=FILE, like junit=gate.xml")
        name = known_name("report format", name, FORMATS)
        if file == "-":
            raise UsageError(f"--report {text}: give a file; only --json can write to stdout")
        if Path(file) in found:
            raise UsageError(f"two reports would be written to {file}")
        check(file, None)
        found[Path(file)] = name
    return [(name, path) for path, name in found.items()]


def write_all(gate: Gate, reports: Iterable[tuple[str, Path]]) -> None:
    """Write every report; a failed write does not stop the others.

    Raises
    ------
    DataUnavailable
        After all were tried, for the first that could not be written.
    """
    failed: list[DataUnavailable] = []
    for name, path in reports:
        try:
            write(path, FORMATS[name](gate).encode())
        except DataUnavailable as error:
            failed.append(error)
    if failed:
        raise failed[0]
