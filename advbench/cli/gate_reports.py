"""Where a gate's reports go: `FORMAT=FILE` as typed, checked before anything is computed, written at the end."""

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
    """Read `FORMAT=FILE` as typed, before anything is computed.

    Raises
    ------
    UsageError
        For a format that there is not, a file named twice, or a place that can't be written to.
    """
    found: dict[Path, str] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or not file:
            raise UsageError(f"--report {text} should be FORMAT=FILE, like junit=gate.xml")
        name = known_name("report format", name, FORMATS)
        if file == "-":
            raise UsageError(f"--report {text}: reports go to files; --json - writes to stdout")
        if Path(file) in found:
            raise UsageError(f"two reports can't both be {file}")
        check(file, None)
        found[Path(file)] = name
    return [(name, path) for path, name in found.items()]


def write_all(gate: Gate, reports: Iterable[tuple[str, Path]]) -> None:
    """Write every report; one that can't be written keeps no other one from being there.

    Raises
    ------
    DataUnavailable
        After all were tried, for the first that there was no room for.
    """
    failed: list[DataUnavailable] = []
    for name, path in reports:
        try:
            write(path, FORMATS[name](gate).encode())
        except DataUnavailable as error:
            failed.append(error)
    if failed:
        raise failed[0]
