"""From what was typed to results: shared by `attack`, `bench` and `gate`."""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from advbench.cli.subject import cascade, subject, threats_of
from advbench.core.errors import (
    Inconclusive,
    InvalidEvaluation,
    TargetUnavailable,
    UsageError,
)

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.core.flag import Flag
    from advbench.core.loaded import LoadedModel
    from advbench.core.preprocess import Preprocess
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset, Reading
    from advbench.evaluation import Result

PREFLIGHT = 128  # images that the doctor looks at
ENDS = {
    "queries": "the query budget is spent",
    "time": "time was up",
    "start": "attacks found no image to start from",
}
MEMORY = 1 << 29  # bytes of them, at most
POOL = 4096  # more images, on which the full checks train a surrogate


@dataclass(frozen=True)
class Request:
    """What was typed."""

    data: str | None
    attacks: Sequence[str] | None
    norm: str | None
    eps: str | None
    n: int | None
    indices: str | None
    seed: int
    batch_size: int
    resume: bool
    force: bool
    budget: str | None = None
    eot: int | None = None
    doublings: int = 2
    checks: str = "fast"  # none, fast, full: how hard to look for masked gradients
    preprocess: Preprocess | None = None
    reading: Reading | None = None  # of image files
    expect_clean: str | None = None
    weights: Path | None = None
    queries: int | None = None  # that may be asked of a target
    wrap: Sequence[str] | None = None  # defenses at inference
    adaptive: bool = True  # whether attacks know of them
    logits: str | None = None  # name of the output that holds them
    extra_outputs: bool = False  # whether there may be more of them than classes


@dataclass(frozen=True)
class Job:
    """One model with all that is needed to attack it; everything typed has been checked."""

    model: LoadedModel
    data: Dataset
    indices: list[int]
    threats: list[ThreatSpec]
    attacks: list[AttackSpec]
    request: Request

    @classmethod
    def of(cls, spec: str, request: Request) -> Job:
        """Load the model and its data, and fill in what was left out.

        Raises
        ------
        AdvbenchError
            For anything that can't be attacked as asked, in one line.
        """
        from advbench.attacks.spec import attacks_of
        from advbench.cli import targets
        from advbench.evaluation.access import check_access
        from advbench.preflight.expected import accuracy_range
        from advbench.wrappers import wrapped

        if request.expect_clean is not None:
            accuracy_range(request.expect_clean)
        model, data, indices = subject(
            spec,
            request.data,
            request.n,
            request.indices,
            request.preprocess,
            request.weights,
            logits=request.logits,
            reading=request.reading,
        )
        model = wrapped(model, data.images.shape[1:], request.wrap, adaptive=request.adaptive)
        model = targets.limited(_averaging(model, request.eot), request.queries)
        threats = threats_of(model, data.name, request.norm, request.eps)
        if request.attacks:
            check_access(model, attacks_of(request.attacks, threats[0]))  # before a target is asked anything
        model = targets.ready(model, data, indices)
        texts = request.attacks or cascade(model, threats[0].norm, len(data.classes))
        attacks = [attacks_of(texts, threat) for threat in threats]  # each is checked under every threat
        check_access(model, attacks[0])
        return cls(model, data, indices, threats, attacks[0], request)

    def run(self, out: Path | None, *, each: bool) -> list[Result]:
        """Examine the model, attack it, and say how that goes; a result per eps."""
        from advbench.cli import targets
        from advbench.cli.progress import watching
        from advbench.cli.signals import listening
        from advbench.evaluation import curve, evaluate

        flags = self._preflight()
        targets.announce(self.model, self.attacks, len(self.indices))
        with listening() as stop, watching(self.model.name) as tell:
            arguments: dict[str, Any] = {
                "seed": self.request.seed,
                "batch_size": self.request.batch_size,
                "out": out,
                "resume": self.request.resume,
                "each": each,
                "progress": tell,
                "should_stop": stop,
                "command": shlex.join(["advbench", *sys.argv[1:]]),
                "flags": flags,
                "budget": seconds(self.request.budget),
                "doublings": self.request.doublings,
            }
            what = (self.model, self.data, self.indices, self.attacks)
            if len(self.threats) > 1:
                return curve(*what, self.threats, **arguments)
            return [evaluate(*what, self.threats[0], **arguments)]

    def _preflight(self) -> list[Flag]:
        """What the doctor says; findings that make every number worthless end the command here."""
        flags = self.doctor()
        fatal = [flag.name for flag in flags if flag.level == "invalid"]
        if fatal and not self.request.force:
            raise InvalidEvaluation(
                f"{self.model.name} can't be evaluated ({', '.join(fatal)}); --force attacks it all the same"
            )
        return flags if fatal else flags + self.masking()

    def doctor(self) -> list[Flag]:
        """What makes numbers of this model worthless, told on stderr."""
        from advbench.cli import targets
        from advbench.core.flag import Flag
        from advbench.core.images import pixels
        from advbench.preflight import examine

        few = self.indices[:PREFLIGHT]
        images, labels = self.data.images[few], self.data.labels[few]
        held: dict[str, Any] = {
            "classes": len(self.data.classes),
            "allow_extra_outputs": self.request.extra_outputs,
        }
        known = [Flag(name="data_note", level="note", evidence={}, message=note) for note in self.data.notes]
        flags = targets.preflight(self.model, images, labels, **held)
        if flags is None:
            flags = examine(self.model, pixels(images), labels, **held)
        return known + _told(flags + self._unexpected())

    def _unexpected(self) -> list[Flag]:
        """Whether clean accuracy is what was said."""
        from advbench.core.images import parts
        from advbench.preflight import clean_accuracy, expected

        if self.request.expect_clean is None:
            return []
        size, right = self.request.batch_size, 0.0
        for part in parts(self.data, self.indices, size):
            right += len(part.y) * clean_accuracy(self.model, part.x, part.y, batch_size=size)
        return expected(right / len(self.indices), len(self.indices), self.request.expect_clean)

    def masking(self) -> list[Flag]:
        """Signs that gradients hide adversarial images; they don't stop the command, but mark its result."""
        import numpy as np

        from advbench.core.images import pixels
        from advbench.preflight.masking import examine_masking

        if self.model.access != "gradient" and self.request.checks == "full":
            raise UsageError(f"--checks full looks at gradients, which {self.model.name} does not have")
        if self.request.checks == "none" or self.model.access != "gradient":
            return []
        full = self.request.checks == "full"
        sample = self.indices[:PREFLIGHT]
        others = np.setdiff1d(np.arange(pool(self.data)), sample) if full else np.arange(0)
        chosen = [*sample, *others.tolist()]
        flags = examine_masking(
            self.model,
            pixels(self.data.images[chosen]),
            self.data.labels[chosen],
            sorted(self.threats, key=lambda threat: threat.eps.value)[len(self.threats) // 2],
            seed=self.request.seed,
            batch_size=self.request.batch_size,
            full=full,
            scale_free=any(_scale_free(spec) for spec in self.attacks),
            classes=len(self.data.classes),
        )
        return _told(flags)


def pool(data: Dataset) -> int:
    """How many of the first images a surrogate may be trained on: as float32 they lie in memory, all at once."""
    return min(POOL, MEMORY // (4 * math.prod(data.shape)), len(data))


def _told(flags: list[Flag]) -> list[Flag]:
    for flag in flags:
        typer.echo(f"advbench: {flag.level}: {flag.name}: {flag.message}", err=True)
    return flags


def refuse_invalid(flags: Iterable[Flag]) -> None:
    """Raise InvalidEvaluation where a flag says that the numbers can't be trusted."""
    if names := dict.fromkeys(flag.name for flag in flags if flag.level == "invalid"):
        raise InvalidEvaluation(f"these numbers can't be trusted: {', '.join(names)}")


def conclude(results: Sequence[Result]) -> None:
    """Turn results that don't stand into their exit code.

    Raises
    ------
    InvalidEvaluation, TargetUnavailable, Inconclusive
        When the numbers can't be trusted, a target failed, or there are none.
    """
    refuse_invalid(flag for result in results for flag in result.flags)
    codes = {result.exit_code for result in results}
    if TargetUnavailable.exit_code in codes:
        failed = [flag.message for r in results for flag in r.flags if flag.name == "target_failed"]
        raise TargetUnavailable(failed[0].partition(". Robust accuracy")[0] if failed else "the target failed")
    if codes - {0}:
        skipped = dict.fromkeys(s.spec for r in results for s in r.skipped)
        reasons = {s.reason for r in results for s in r.skipped}
        what = next((words for reason, words in ENDS.items() if reason in reasons), "")
        raise Inconclusive(f"{what}; skipped: {', '.join(skipped)}" if skipped else "nothing could be said")


def _scale_free(spec: AttackSpec) -> bool:
    """Whether an attack works at any scale of the logits: all do but those that climb the cross-entropy."""
    return getattr(spec.attack, "loss", "") not in ("ce", "kl")


def seconds(budget: str | None) -> float | None:
    """`90`, `60s`, `5m` or `1h` -> seconds."""
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", budget.strip())
    if not found or not float(found[1]):
        raise UsageError(f"--budget {budget!r} should be a time like 60s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _averaging(model: LoadedModel, draws: int | None) -> LoadedModel:
    """A randomised model with as many draws a pass as asked for."""
    from advbench.attacks import Randomised

    if draws is None:
        return model
    if not isinstance(model.predict, Randomised):
        raise UsageError(f"--eot is for randomised models; {model.name} does not say that it is one")
    return replace(model, predict=replace(model.predict, draws=draws))
