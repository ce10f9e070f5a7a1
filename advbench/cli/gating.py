"""A gate from its rules to its exit code: what is loaded, run, told and written."""

from __future__ import annotations

import shlex
import sys
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
    UsageError,
    unknown,
)

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.core.flag import Flag
    from advbench.core.spec import ThreatSpec
    from advbench.gating.rules import GateRules
    from advbench.gating.source import Source
    from advbench.gating.subject import Subject
    from advbench.gating.verdict import Gate

PAUSE = 10.0  # seconds between lines of progress


def decide(
    rules: GateRules,
    source: Source,
    *,
    update: bool,
    json: str | None,
    reports: Sequence[str],
    out: Path | None,
    resume: bool,
) -> None:
    """Run the gate, tell it in every form asked for, and end with its exit code.

    Raises
    ------
    AdvbenchError
        For whatever keeps it from a verdict.
    """
    from advbench.cli import output
    from advbench.cli.evaluating import seconds
    from advbench.cli.runtime import prepare

    clock = time.monotonic()
    budget = seconds(rules.budget)
    output.check(json, None)
    if update and rules.baseline:
        output.check(rules.baseline, None)
    if resume and not out:
        raise UsageError("--resume needs the folder: --out DIR")
    prepare()
    from advbench.cli import gate_reports
    from advbench.cli.signals import listening
    from advbench.gating.baseline import Baseline
    from advbench.gating.run import Run
    from advbench.gating.subject import asked_of
    from advbench.reports import gate_sheet, github

    to_write = gate_reports.wanted(reports)
    _allowed(rules, source)
    then = Baseline.load(Path(rules.baseline)) if rules.baseline and not update else None
    subject = _subject(rules)
    asked = asked_of(rules, subject, source, update=update)
    run = Run(subject, rules, source, asked, then, update)
    run.command, run.out, run.resume = shlex.join(["advbench", *sys.argv[1:]]), out, resume
    run.deadline = None if budget is None else clock + budget
    with listening() as stop, _telling(subject.model.name) as tell:
        run.should_stop, run.tell = stop, tell
        run.doctor, run.masking = _preflight(subject, rules)
        found, new = run()
    found = found.model_copy(update={"seconds": time.monotonic() - clock})
    try:
        if new is not None and rules.baseline:
            output.write(Path(rules.baseline), new.to_json().encode())
            typer.echo(f"advbench: {rules.baseline} holds {new.n:,} images now", err=True)
        gate_reports.write_all(found, to_write)
        github.publish(found)
    finally:  # what could not be written keeps nobody from seeing the verdict
        output.show(gate_sheet.of_gate(found), found.to_json(), json, None)
    _conclude(found, incomplete=update and new is None)


class GateFailed(AdvbenchError):
    """At least one rule certainly does not hold."""

    exit_code = 1


def _conclude(gate: Gate, *, incomplete: bool) -> None:
    """Turn a verdict into its exit code, with one line on the first rule that decided it."""
    if gate.verdict == "pass":
        if incomplete:
            raise Inconclusive("time was up: there is no new baseline")
        return
    first = next(outcome for outcome in gate.outcomes if outcome.verdict == gate.verdict)
    errors = {"fail": GateFailed, "invalid": InvalidEvaluation, "inconclusive": Inconclusive}
    raise errors[gate.verdict](f"the gate {_NAMES[gate.verdict]}: {first.rule}: {first.message}")


_NAMES = {"fail": "failed", "invalid": "is invalid", "inconclusive": "is inconclusive"}


def _subject(rules: GateRules) -> Subject:
    """Load the model and its data, and read threats and attacks."""
    from advbench.attacks.spec import attacks_of
    from advbench.cli.subject import cascade, subject, threats_of
    from advbench.core.preprocess import Preprocess
    from advbench.data import Reading
    from advbench.gating.subject import Subject, drawn
    from advbench.wrappers import wrapped

    preprocess = Preprocess.parse(rules.input_layout, rules.mean, rules.std)
    names = Path(rules.classes) if rules.classes else None
    reading = Reading.parse(rules.resize, rules.crop, rules.interpolation, names, rules.transparent, rules.skip_corrupt)
    model, data, chosen = subject(
        str(rules.model),
        rules.data,
        rules.n,
        rules.indices,
        preprocess,
        most=sys.maxsize,
        logits=rules.logits,
        reading=reading,
    )
    if model.access != "gradient":
        raise UsageError(f"a gate attacks with gradients, which {model.name} does not have")
    model = wrapped(model, data.images.shape[1:], rules.wrap)
    threats = [threat for t in rules.threats for threat in threats_of(model, data.name, t.norm, t.eps)]
    named = [own.attacks or rules.attacks for own in rules.threats]
    attacks = [
        attacks_of(texts or cascade(model, t.norm, len(data.classes)), t)
        for texts, t in zip(named, threats, strict=True)
    ]
    return Subject(model, data, drawn(chosen, rules.seed), threats, attacks)


def _allowed(rules: GateRules, source: Source) -> None:
    """Refuse to allow findings that there are not: a slip there would switch nothing off."""
    from advbench.preflight import CHECKS, TRANSLATED
    from advbench.preflight.masking import ASKED

    known = {*CHECKS, *TRANSLATED, *ASKED, "under_converged", "undone_successes", "proposal_out_of_bounds"}
    if wrong := next((name for name in rules.allow_flags if name not in known), None):
        raise source.problem(("allow-flags",), str(unknown("flag", wrong[:40], known)))


def _preflight(subject: Subject, rules: GateRules) -> tuple[list[Flag], list[list[Flag]]]:
    """What the doctor finds, and what hides gradients under each threat; nothing more once no number can stand."""
    from advbench.cli.evaluating import Job, Request

    order, seed, size = subject.order.tolist(), rules.seed, rules.batch_size

    def job(threats: list[ThreatSpec], attacks: list[AttackSpec]) -> Job:
        request = Request(None, None, None, None, None, None, seed, size, False, False, checks=rules.checks)
        return Job(subject.model, subject.data, order, threats, attacks, request)

    doctor = job([], []).doctor()
    fatal = any(flag.level == "invalid" and flag.name not in rules.allow_flags for flag in doctor)
    threats = zip(subject.threats, subject.attacks, strict=True)
    return doctor, [[] if fatal else job([threat], attacks).masking() for threat, attacks in threats]


@contextmanager
def _telling(model: str) -> Iterator[Callable[[str], None]]:
    """Within this block, show how far the gate is: a status on a terminal, elsewhere a line now and then."""
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
