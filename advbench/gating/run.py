"""Run of a gate: images are drawn in a seeded order, until every rule is certain or the time limit is reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advbench.core.errors import Inconclusive, Interrupted, UsageError
from advbench.core.flag import Flag
from advbench.evaluation.evaluator import Evaluator
from advbench.evaluation.growing import IncrementalEvaluation
from advbench.evaluation.run import RunDirectory
from advbench.gating.baseline import Baseline
from advbench.gating.clean import Clean
from advbench.gating.decide import compare, decide, trusted, unknown_yet
from advbench.gating.measure import RuleInstance, Sample
from advbench.gating.rules import GateRules
from advbench.gating.source import RulesSource
from advbench.gating.subject import Subject
from advbench.gating.verdict import Gate, Outcome

CLOCK = 0  # in place of a signal's number: time limit reached
BLOCKS = 4  # a block is at most 1 / BLOCKS of the images seen


class GateResult(NamedTuple):
    """Result of a gate.

    Parameters
    ----------
    gate : Gate
        Verdict, outcomes and results.
    baseline : Baseline or None
        New baseline, if requested and complete.
    """

    gate: Gate
    baseline: Baseline | None


@dataclass
class GateRun:
    """A gate in progress.

    Parameters
    ----------
    subject : Subject
        Model, images and threat models.
    rules : GateRules
        Table of the gate.
    source : RulesSource
        Places of the rules.
    asked : list[RuleInstance]
        Rules to decide.
    baseline : Baseline, optional
        Baseline to compare with.
    update : bool, default False
        Whether to make a new baseline.
    doctor : list[Flag], optional
        Findings of the preflight check.
    masking : list[list[Flag]], optional
        Findings on masked gradients, for each threat model.
    deadline : float, optional
        Time limit, in seconds of `time.monotonic()`.
    command, out, resume
        As for `advbench.evaluate`; each threat model has a run directory of its own in `out`.
    should_stop : Callable[[], int or None], optional
        Called before every batch; returns the number of a signal to stop.
    tell : Callable[[str], None], optional
        Called with a line on the progress after every block.
    """

    subject: Subject
    rules: GateRules
    source: RulesSource
    asked: list[RuleInstance]
    baseline: Baseline | None = None
    update: bool = False
    doctor: list[Flag] = field(default_factory=list)
    masking: list[list[Flag]] = field(default_factory=list)
    deadline: float | None = None
    command: str = ""
    out: Path | None = None
    resume: bool = False
    should_stop: Callable[[], int | None] = lambda: None
    tell: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        """Read the baseline's outcomes.

        Raises
        ------
        UsageError
            When they can't be compared.
        """
        self.settled: dict[str, Outcome] = {}
        self.ended = "time was up"  # reason for open rules
        self.before = self._before()

    def __call__(self) -> GateResult:
        """Draw images until every rule is decided or the time limit is reached.

        Returns
        -------
        GateResult
            Verdict, and the new baseline if requested.

        Raises
        ------
        AdvbenchError
            As `advbench.evaluation.evaluate`.
        """
        began = time.monotonic()
        with ExitStack() as stack:
            self.streams = [self._growing(number, stack) for number in range(len(self.subject.threats))]
            self.clean = Clean(self.subject.model, self.subject.data, self.subject.order, self.rules.batch_size)
            invalid = self._unallowed(self._preflight())
            in_time = not invalid and self._draw()
            seen = [stream for stream in self.streams if stream.seen]
            results = tuple(stream.finish() if in_time else stream.result()[0] for stream in seen)
        outcomes = self._outcomes("the evaluation is invalid" if invalid else self.ended)
        everything = self._preflight() + [flag for result in results for flag in result.flags]
        place = self.source.place(("allow-flags",))
        outcomes = (*outcomes, trusted(self._unallowed(everything), self.rules.allow_flags, place))
        gate = Gate(
            model=self.subject.model.name,
            verdict=Gate.sums(outcomes),
            outcomes=outcomes,
            error=self.rules.error_rate,
            images=max([self.clean.seen, *(stream.seen for stream in self.streams)]),
            population=len(self.subject.order),
            seed=self.rules.seed,
            baseline=None if self.baseline is None else self.rules.baseline,
            results=results,
            seconds=time.monotonic() - began,
        )
        return GateResult(gate, self._new() if self.update and in_time and gate.verdict != "invalid" else None)

    def _growing(self, number: int, stack: ExitStack) -> IncrementalEvaluation:
        threat = self.subject.threats[number]
        evaluator = Evaluator(
            model=self.subject.model,
            data=self.subject.data,
            indices=self.subject.order,
            attacks=self.subject.attacks[number],
            threat=threat,
            seed=self.rules.seed,
            batch_size=self.rules.batch_size,
            command=self.command,
            flags=(*self.doctor, *self.masking[number]),
            doublings=0,
            should_stop=self._stop,
        )
        if self.out is None:
            return IncrementalEvaluation(evaluator)
        path = self.out / str(threat).replace(" ", "-").replace("/", "_")
        directory = stack.enter_context(RunDirectory(path, evaluator.fingerprint(), self.resume))
        if directory.finished():
            raise UsageError(f"{path} is finished; choose another --out")
        return IncrementalEvaluation(evaluator, directory)

    def _stop(self) -> int | None:
        if (signal := self.should_stop()) is not None:
            return signal
        return CLOCK if self.deadline is not None and time.monotonic() > self.deadline else None

    def _before(self) -> list[np.ndarray]:
        """Return outcomes of the baseline, one for each rule about a drop."""
        drops = [self.subject.suites[a.rule.threat] for a in self._drops if a.rule.threat is not None]
        if self.baseline is None or not drops:
            return []
        return self.baseline.under(self.subject.scope(self.baseline.n, self.rules.seed), drops)

    @property
    def _drops(self) -> list[RuleInstance]:
        return [asked for asked in self.asked if asked.rule.kind == "max_drop"]

    def _draw(self) -> bool:
        """Draw until all rules are certain; False if the time limit was reached first."""
        size = self.rules.batch_size
        while wanted := self._wanted():
            self._tell()
            for stream in wanted:
                if (signal := self._stop()) == CLOCK:
                    return False
                if signal is not None:
                    raise Interrupted("stopped before anything was certain", signal)
                try:
                    stream.extend(max(size, stream.seen // BLOCKS // size * size))
                except Inconclusive as error:
                    self.ended = str(error)
                    return False
                except Interrupted as error:
                    if error.exit_code == 128 + CLOCK:
                        return False
                    raise
        return True

    def _wanted(self) -> list[IncrementalEvaluation | Clean]:
        """Return the evaluations that need more images, after deciding every open rule."""
        wanted: list[IncrementalEvaluation | Clean] = []
        for asked in self.asked:
            if asked.name in self.settled or asked.rule.kind == "max_drop":
                continue
            stream = self._stream(asked)
            outcome, final = decide(asked, self._evidence(asked))
            if final:
                self.settled[asked.name] = outcome
            elif stream not in wanted:
                wanted.append(stream)
        for number, stream in enumerate(self.streams):
            if stream.seen < self._least(number) and stream not in wanted:
                wanted.append(stream)
        return wanted

    def _least(self, number: int) -> int:
        """Return the number of images that the baselines need under a threat model."""
        if self.update:
            return min(self.rules.baseline_images, len(self.subject.order))
        compared = any(asked.rule.threat == number for asked in self._drops)
        return self.baseline.n if self.baseline and compared else 0

    def _stream(self, asked: RuleInstance) -> IncrementalEvaluation | Clean:
        return self.clean if asked.rule.threat is None else self.streams[asked.rule.threat]

    def _evidence(self, asked: RuleInstance) -> Sample:
        labels = self.subject.data.labels[self.subject.order]
        return Sample(self._stream(asked).good, labels, tuple(self.subject.data.classes))

    def _tell(self) -> None:
        seen = [
            f"{threat}: {stream.seen:,} images, robust {stream.good.mean():.1%}"
            for threat, stream in zip(self.subject.threats, self.streams, strict=True)
            if stream.seen
        ]
        rules = f"{len(self.settled)} of {len(self.asked)} rules certain"
        if seen:
            self.tell("; ".join([*seen, rules]))

    def _outcomes(self, why: str) -> tuple[Outcome, ...]:
        """Return the outcomes of all rules, in their order."""
        for asked in self.asked:
            if asked.name not in self.settled and asked.rule.kind != "max_drop":
                seen = self._stream(asked).seen
                self.settled[asked.name] = decide(asked, self._evidence(asked))[0] if seen else unknown_yet(asked, why)
        streams = [self._stream(asked) for asked in self._drops]
        if all(stream.seen >= len(bits) for stream, bits in zip(streams, self.before, strict=True)):
            pairs = [(bits, stream.good[: len(bits)]) for stream, bits in zip(streams, self.before, strict=True)]
            found = compare(self._drops, pairs, len(self.subject.order))
        else:
            found = [unknown_yet(asked, why) for asked in self._drops]
        self.settled |= {outcome.rule: outcome for outcome in found}
        return tuple(self.settled[asked.name] for asked in self.asked)

    def _preflight(self) -> list[Flag]:
        return self.doctor + [flag for flags in self.masking for flag in flags]

    def _unallowed(self, flags: list[Flag]) -> list[Flag]:
        return [flag for flag in flags if flag.level == "invalid" and flag.name not in self.rules.allow_flags]

    def _new(self) -> Baseline:
        """Make a new baseline."""
        n = self._least(0)
        return self.subject.baseline([stream.good[:n] for stream in self.streams], self.rules.seed)
