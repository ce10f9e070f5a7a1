"""All report formats of a gate. Each format is imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from advbench.gating.verdict import Gate

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
"""Renderers by the name of their format; every text ends with a newline."""
