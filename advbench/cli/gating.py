"""Run of a gate: from its rules to output and exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from advbench.core.errors import (
    AdvbenchError,
    Inconclusive,
    InvalidEvaluation,
)

if TYPE_CHECKING:
    from advbench.gating.rules import GateRules
    from advbench.gating.source import RulesSource
    from advbench.gating.verdict import Gate

PAUSE = 10.0  # seconds between lines of progress


def decide(
    rules: GateRules,
    source: RulesSource,
    *,
    update: bool,
    json: str | None,
    reports: Sequence[str],
    out: Path | None,
    resume: bool,
) -> None:
    """Run the gate, write its reports, and end with its exit code.

    Raises
    ------
    AdvbenchError
        For anything that prevents a verdict.
    """
    from advbench.api.runtime import prepare
    from advbench.api.settings import seconds
    from advbench.cli import output

    seconds(rules.time_limit)
    output.check(json, None)
    if update and rules.baseline:
        output.check(rules.baseline, None)
    prepare()
    from advbench.api.gating import loaded
    from advbench.cli import gate_reports, github
    from advbench.cli.running import typed
    from advbench.cli.signals import listening
    from advbench.reports import gate_sheet

    to_write = gate_reports.wanted(reports)
    ready = loaded(rules, source, update=update, out=out, resume=resume, command=typed(), notify=output.say)
    with listening() as stop, _telling(ready.name) as tell:
        found, new = ready(stop, tell)
    try:
        if new is not None and rules.baseline:
            output.write(Path(rules.baseline), new.to_json().encode())
            output.say(f"{rules.baseline} now holds {new.n:,} images")
        gate_reports.write_all(found, to_write)
        github.publish(found)
    finally:  # show the verdict even if a report could not be written
        output.show(gate_sheet.of_gate(found), found.to_json(), json, None)
    _conclude(found, incomplete=update and new is None)


class GateFailed(AdvbenchError):
    """At least one rule is certainly broken."""

    exit_code = 1


def _conclude(gate: Gate, *, incomplete: bool) -> None:
    """Raise the error of a verdict, which has its exit code, with one line on the first rule that decided it."""
    if gate.verdict == "pass":
        if incomplete:
            raise Inconclusive("the time limit was reached before the new baseline was complete: it was not written")
        return
    first = next(outcome for outcome in gate.outcomes if outcome.verdict == gate.verdict)
    errors = {"fail": GateFailed, "invalid": InvalidEvaluation, "inconclusive": Inconclusive}
    raise errors[gate.verdict](f"the gate {_NAMES[gate.verdict]}: {first.rule}: {first.message}")


_NAMES = {"fail": "failed", "invalid": "is invalid", "inconclusive": "is inconclusive"}


@contextmanager
def _telling(model: str) -> Iterator[Callable[[str], None]]:
    """Show progress within the block: a status on a terminal, elsewhere a line every `PAUSE` seconds."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(f"{model}: compiling") as status:
            yield lambda text: status.update(f"{model}: {text}")
        return
    last = time.monotonic()

    def line(text: str) -> None:
        nonlocal last
        if time.monotonic() - last > PAUSE:
            last = time.monotonic()
            typer.echo(f"{model}: {text}", err=True)

    yield line
