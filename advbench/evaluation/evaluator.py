"""One evaluation: attack the batches in order, judge them, and build the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from advbench.attacks.loop import TimeUp, until
from advbench.attacks.spec import AttackSpec
from advbench.core.ambient import own_settings
from advbench.core.batches import Batches
from advbench.core.errors import (
    Interrupted,
    QueriesSpent,
    TargetUnavailable,
    UsageError,
)
from advbench.core.flag import Flag
from advbench.core.images import digest, parts, pixels
from advbench.core.lazy import choose, content_digest, expect
from advbench.core.outputs import expecting
from advbench.core.spec import ThreatSpec
from advbench.evaluation import summary
from advbench.evaluation.access import check_access
from advbench.evaluation.judge import Judge, Verdict
from advbench.evaluation.plan import Schedule
from advbench.evaluation.provenance import (
    commit,
    machine,
    versions,
)
from advbench.evaluation.queries import (
    ended,
    ending_flag,
    listen,
    reason,
)
from advbench.evaluation.result import Provenance, Result
from advbench.evaluation.run import RunDirectory
from advbench.evaluation.settings import DOUBLINGS, EvaluationProgress, nobody, quietly
from advbench.evaluation.starts import Pool, candidates
from advbench.evaluation.tally import AdversarialImages, BatchOutcome, Tally
from advbench.evaluation.task import Task
from advbench.evaluation.trial import trial
from advbench.evaluation.views import view_flags
from advbench.wrappers.facing import judge_view

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset

ORDER = 2  # number of the rules by which batches follow each other: a journal of another order can't be gone on with
Before = tuple[Result, AdversarialImages]  # what a smaller eps found


class AttackOutcome(NamedTuple):
    """The completed attacks of an evaluation, with the tally of their outcomes."""

    plan: Schedule  # with the tally
    classes: int
    limit: int  # images that fitted in memory at once
    batches: int  # kept in the run directory so far


@dataclass(frozen=True)
class Evaluator:
    """The fixed settings of an evaluation: the checked parameters of `advbench.evaluation.evaluate`."""

    model: LoadedModel
    data: Dataset
    indices: np.ndarray  # int32 [n]
    attacks: list[AttackSpec]
    threat: ThreatSpec
    seed: int
    batch_size: int
    each: bool = False
    command: str = ""
    flags: Sequence[Flag] = ()
    budget: float | None = None  # seconds
    doublings: int = DOUBLINGS
    progress: Callable[[EvaluationProgress], None] = quietly
    should_stop: Callable[[], int | None] = nobody

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.seed < 2**32:
            raise UsageError("the batch size must be at least 1, and the seed between 0 and 2**32 - 1")
        if self.budget is not None and not self.budget > 0:
            raise UsageError("the time limit must be more than 0 seconds, like 60s or 5m")
        if not self.attacks or len({attack.text for attack in self.attacks}) < len(self.attacks):
            raise UsageError("give at least one attack, and each attack only once")
        object.__setattr__(self, "model", expecting(self.model, len(self.data.classes)))
        self.model.require(self.data)
        check_access(self.model, self.attacks)

    @own_settings()
    def run(self, out: Path | None, resume: bool, before: Before | None = None) -> tuple[Result, AdversarialImages]:
        """Run the evaluation, or the part missing in the run directory `out`, and store result and images there."""
        if self.budget is not None and resume:
            raise UsageError("a run with a time limit can't be resumed: its work depends on the clock")
        if out is None:
            return self._attack(None, before)
        with RunDirectory(out, self.fingerprint(before), resume) as directory:
            if (finished := directory.finished()) is None:
                finished = self._attack(directory, before)
                directory.finish(*finished, keep=finished[0].cut_short)
            return finished

    def fingerprint(self, before: Before | None = None) -> dict[str, Any]:
        """Return everything that the result depends on, as JSON; a run resumes only if all of it is unchanged."""
        return {
            "model": self.model.digest,
            "preprocessing": self.model.preprocess.record(),
            "data": self.digest,
            "indices": digest(self.indices),
            "norm": self.threat.norm,
            "eps": str(self.threat.eps.value),
            "attacks": [attack.text for attack in self.attacks],
            "each": self.each,
            "seed": self.seed,
            "batch size": self.batch_size,
            "budget": self.budget,
            "doublings": self.doublings,
            "draws": getattr(self.model.predict, "draws", 1),
            "images broken at a smaller eps": before[1].digest() if before else "",
            "versions": versions(),
            "order of batches": ORDER,
            **({"execution": self.model.execution.attacked} if self.model.execution else {}),
            **({"starts": self._starts} if any(spec.attack.starts for spec in self.attacks) else {}),
        }

    @property
    def _starts(self) -> str:
        """Digest of the images from which attacks may start."""
        chosen = candidates(self.data.labels)
        return content_digest(self.data.images[chosen], self.data.labels[chosen])

    @cached_property
    def digest(self) -> str:
        """Digest of the attacked images and their labels."""
        return content_digest(choose(self.data.images, self.indices), self._labels)

    def _pixels(self, positions: np.ndarray | slice) -> np.ndarray:
        """Return a batch of images, float32 `[m, H, W, C]` in [0, 1]; all images at once might not fit in memory."""
        return pixels(self.data.images[self.indices[positions]])

    @property
    def _labels(self) -> np.ndarray:
        labels: np.ndarray = self.data.labels[self.indices]
        return labels.astype(np.int32)

    def _attack(self, directory: RunDirectory | None, before: Before | None) -> tuple[Result, AdversarialImages]:
        started, clock = datetime.now(UTC), time.perf_counter()
        done = self.attacked(directory, before=before)
        return self.concluded(done, started, time.perf_counter() - clock)

    @own_settings()
    def attacked(
        self,
        directory: RunDirectory | None = None,
        *,
        before: Before | None = None,
        size: int | None = None,
        first: int = 0,
    ) -> AttackOutcome:
        """Run all attacks on all images.

        Parameters
        ----------
        directory : RunDirectory, optional
            Stores each batch; batches already stored there are not computed again.
        before : Before, optional
            Result and images of a smaller eps.
        size : int, optional
            Batch shape, also for fewer images; by default the batch size, or the number of images if that is smaller.
        first : int
            Number of the first batch in `directory`.

        Returns
        -------
        AttackOutcome
            The completed plan with its tally.

        Raises
        ------
        Interrupted
            When `should_stop` returned a signal.
        """
        listen(self.model, self.should_stop)
        size = size or min(self.batch_size, len(self.indices))
        batches, y = Batches(size), self._labels
        judge = Judge(judge_view(self.model.predict), self.threat, batches, size)
        tally = Tally(self.attacks, self.indices, y, _clean(judge, self.data, self.indices))
        classes = judge.logits(self._pixels(slice(1)), y[:1]).shape[1]
        runs = [spec.attack.runs(classes) for spec in self.attacks]
        if before:
            tally.carry(before[0].rows, before[1])
        plan = Schedule(tally, self.attacks, runs, size, self.each, self.doublings)
        pool = Pool(self.data, judge, tally)
        tasks = plan.within(self.budget) if self.budget else plan.whole()
        number, announced = first, (-1, 0, 0)
        for number, task in enumerate(tasks, start=first):
            shard = directory.replay(number, task.positions) if directory else None
            resumed = shard is not None
            if shard is None:
                if (signal := self.should_stop()) is not None:
                    raise Interrupted(_stopped(directory), signal)
                try:
                    with until(plan.deadline):
                        if announced != task[:3]:  # the first batch of a run that was not kept
                            announced, rest = task[:3], tally.remaining(task.attack, self.each)
                            expect(self.data.images, self.indices[rest[rest >= task.positions[0]]])
                        x = self._pixels(task.positions)
                        shard = self._asked(task, x, y[task.positions], judge, batches, directory, pool)
                except TimeUp:
                    plan.abandon(task)
                    number -= 1
                    break
                if (end := ended(self.model)) is not None:
                    tally.add(task.attack, shard._replace(tried=shard.tried | True))  # which had no start is not known
                    plan.cut(task, reason(end))
                    break
                if directory:
                    directory.keep(number, shard)
            batches.limit = min(batches.limit, shard.limit)
            tally.add(task.attack, shard)
            spec, robust = self.attacks[task.attack].text, int(tally.robust.sum())
            self.progress(
                EvaluationProgress(spec, task.turn, runs[task.attack], task.done, task.total, robust, len(y), resumed)
            )
        return AttackOutcome(plan, classes, batches.limit, number + 1)

    @own_settings()
    def concluded(self, done: AttackOutcome, started: datetime, seconds: float) -> tuple[Result, AdversarialImages]:
        """Build the result and collect the adversarial images; `started` is in UTC, `seconds` the duration."""
        plan, tally = done.plan, done.plan.tally
        images = tally.adversarial(self.data.images.shape[1:])
        provenance = Provenance(
            versions=versions(),
            **machine(),
            commit=commit(),
            command=self.command,
            started=started.isoformat(timespec="seconds"),
            seconds=seconds,
        )
        flags = [*summary.flags(tally, done.limit, plan.size), *plan.flags(done.classes)]
        flags += view_flags(self.model.predict, self.attacks, tally)
        if (end := ended(self.model)) is not None:
            flags.append(ending_flag(end, plan))
        return summary.result(self, tally, plan.runs, images, flags, provenance, plan.skipped), images

    def _asked(
        self,
        task: Task,
        x: np.ndarray,
        y: np.ndarray,
        judge: Judge,
        batches: Batches,
        directory: RunDirectory | None,
        pool: Pool,
    ) -> BatchOutcome:
        """Run `trial`; if the remote model stopped answering, return the part already judged, which may be empty."""
        try:
            shard = trial(self, task, x, y, judge, batches, pool)
        except (TargetUnavailable, QueriesSpent, Interrupted):
            if ended(self.model) is None:
                raise
            shard = BatchOutcome.empty(x.shape[1:])
        if isinstance(end := ended(self.model), Interrupted):
            raise Interrupted(_stopped(directory), end.exit_code - 128)
        return shard


def _clean(judge: Judge, data: Dataset, indices: np.ndarray) -> Verdict:
    """Judge the clean images."""
    verdicts = [judge(part.x, part.y, part.x) for part in parts(data, indices, judge.size)]
    return Verdict(*map(np.concatenate, zip(*verdicts, strict=True)))


def _stopped(directory: RunDirectory | None) -> str:
    if directory is None:
        return "stopped; nothing was kept, since no run directory was given (--out)"
    return f"stopped; {directory.path} keeps all finished batches: run again with --resume"
