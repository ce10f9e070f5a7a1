"""All that a gate can be written as. Each format is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from advbench.errors import UsageError
from advbench.names import found as known_name

if TYPE_CHECKING:
    from advbench.gate.verdict import Gate

_HOMES: Final = {
    "junit": ("junit", "junit"),
    "sarif": ("sarif", "sarif"),
    "gitlab": ("gitlab", "gitlab"),
    "openmetrics": ("openmetrics", "openmetrics"),
    "latex": ("latex", "of_gate"),
    "robustbench": ("robustbench", "of_gate"),
}


def _json(gate: Gate) -> str:
    return gate.to_json()


def _markdown(gate: Gate) -> str:
    from advbench.reports import gate_sheet, table

    return table.markdown(gate_sheet.of_gate(gate))


def _late(module: str, name: str) -> Callable[[Gate], str]:
    def render(gate: Gate) -> str:
        text: str = getattr(import_module(f"advbench.reports.{module}"), name)(gate)
        return text

    return render


FORMATS: Final[dict[str, Callable[[Gate], str]]] = {
    "json": _json,
    "markdown": _markdown,
    **{name: _late(*home) for name, home in _HOMES.items()},
}
"""Name to renderer; every text ends with a newline."""


def wanted(texts: Iterable[str]) -> list[tuple[str, Path]]:
    """Read `FORMAT=FILE` as typed, before anything is computed.

    Raises
    ------
    UsageError
        For a format that there is not, a file named twice, or a place that can't be written to.
    """
    from advbench.cli.output import check

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
    from advbench.cli.output import write
    from advbench.errors import DataUnavailable

    failed: list[DataUnavailable] = []
    for name, path in reports:
        try:
            write(path, FORMATS[name](gate).encode())
        except DataUnavailable as error:
            failed.append(error)
    if failed:
        raise failed[0]
