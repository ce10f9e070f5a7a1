"""What an evaluation does next: attack after attack, or within a time budget what breaks most a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from advbench.evaluation.result import Flag, Skipped
from advbench.evaluation.tally import Tally
from advbench.spec import AttackSpec

BUDGETS = ("steps", "queries")  # the settings that say how long an attack goes on


class Task(NamedTuple):
    """One batch of one run of one attack."""

    attack: int
    run: int
    doubling: int  # how often the steps are doubled
    positions: np.ndarray  # int32, in the list of images
    done: int  # images of this run, this batch included
    total: int


class Plan:
    """The order of work; each generator looks at what the tally says by then.

    Parameters
    ----------
    tally : Tally
        What is known so far.
    attacks : list of AttackSpec
        In the order asked for.
    runs : list of int
        Restarts times targets, of each.
    size : int
        Images in a batch.
    each : bool
        Whether every attack tries every image.
    doublings : int
        How often the steps of an attack that has not converged may double.
    """

    def __init__(self, tally: Tally, attacks: list[AttackSpec], runs: list[int], size: int, each: bool, doublings: int):
        self.tally, self.attacks, self.runs, self.size, self.each = tally, attacks, runs, size, each
        self.doublings = 0 if each else doublings
        self.skipped: tuple[Skipped, ...] = ()
        self.finished = 0  # images that withstood everything asked for, where that ended early
        self._begun = np.arange(0)  # images of the run under way
        self._queues: list[_Queue] = []
        self.deadline: float | None = None  # by `time.monotonic()`, within a time budget

    def whole(self) -> Iterator[Task]:
        """Everything, in the order asked for; then the last iterative attack again while it has not converged."""
        for attack, count in enumerate(self.runs):
            for run in range(count):
                yield from self._run(attack, run, 0)
        last = self._last_iterative()
        for doubling in range(1, self.doublings + 1):
            if last is None or not self.tally.moving(last):
                return
            self.tally.doublings[last] = doubling
            for run in range(self.runs[last]):
                yield from self._run(last, run, doubling)

    def _run(self, attack: int, run: int, doubling: int) -> Iterator[Task]:
        standing = self._begun = self.tally.standing(attack, self.each).astype(np.int32)
        for at in range(0, len(standing), self.size):
            batch = standing[at : at + self.size]
            yield Task(attack, run, doubling, batch, at + len(batch), len(standing))
        self.tally.end_run(attack)

    def within(self, seconds: float) -> Iterator[Task]:
        """Small batches, each attack tried once and then the one that broke most images a second, until time is up.

        What is not done when time is up, or would not end in time, is skipped.
        """
        self.deadline, few = time.monotonic() + seconds, max(1, self.size // 4)
        queues = self._queues = [_Queue(self, attack, few) for attack in range(len(self.attacks))]
        while True:
            left = self.deadline - time.monotonic()
            open_ = [q for q in queues if q.waiting() and q.seconds_a_batch() < left]
            if left <= 0 or not open_:
                break
            best = max(open_, key=lambda q: q.rate())
            yield from best.next()
        self._skip()

    def abandon(self, task: Task) -> None:
        """Note that time was up in the middle of a task, of which nothing is known."""
        queue = self._queues[task.attack]
        queue.left = np.concatenate([task.positions, queue.left])
        self._skip()

    def _skip(self) -> None:
        self.skipped = tuple(q.skipped() for q in self._queues if q.waiting())

    def cut(self, task: Task, reason: Literal["queries", "target"]) -> None:
        """Note what is left undone when a target ends in the middle of a task."""
        done = task.done - len(task.positions)
        left = [(task.attack, self.runs[task.attack] - task.run, task.total - done)]
        for attack in range(task.attack + 1, len(self.attacks)):
            left.append((attack, self.runs[attack], len(self.tally.standing(attack, self.each))))
        if self._queues:
            left = [(queue.attack, self.runs[queue.attack] - queue.run, len(queue.left)) for queue in self._queues]
        elif len(left) == left[0][1] == 1:
            self.finished = int(self.tally.robust[self._begun[:done]].sum())
        self.skipped = tuple(
            Skipped(spec=self.attacks[attack].text, runs=runs, images=images, reason=reason)
            for attack, runs, images in left
        )

    def _last_iterative(self) -> int | None:
        """The last attack that climbs gradients and whose counts tell when an image fell."""
        able = [a for a, spec in enumerate(self.attacks) if _can_double(spec.attack)]
        return able[-1] if able else None

    def flags(self, classes: int) -> list[Flag]:
        """What to say about how far the attacks went."""
        found = []
        last = self._last_iterative()
        if last is not None and not self.skipped and self.tally.moving(last):
            late, spec = self.tally.late(last), self.attacks[last].text
            found.append(
                Flag(
                    name="under_converged",
                    level="note" if self.each else "invalid",
                    evidence={"attack": spec, "late": late, "n": len(self.tally.labels)},
                    message=f"{late} images fell only in the last doubling of {spec}: give it more steps or restarts",
                )
            )
        few = [s.text for s in self.attacks if getattr(s.attack, "loss", "") == "dlr" and classes < _needs(s.attack)]
        if few:
            found.append(
                Flag(
                    name="few_classes",
                    level="note",
                    evidence={"classes": classes, "attacks": few},
                    message=f"the DLR loss needs more than {classes} classes: "
                    f"{', '.join(few)} used the difference of logits",
                )
            )
        if self.skipped and self.skipped[0].reason == "time":
            words = ", ".join(f"{s.spec} ({s.runs} runs on {s.images} images)" for s in self.skipped)
            found.append(
                Flag(
                    name="time_budget",
                    level="note",
                    evidence={"skipped": [s.spec for s in self.skipped]},
                    message=f"time was up: robust accuracy is an upper bound; skipped: {words}",
                )
            )
        return found


class _Queue:
    """What one attack has still to do."""

    def __init__(self, plan: Plan, attack: int, size: int):
        self.plan, self.attack, self.size, self.run = plan, attack, size, 0
        self.left = plan.tally.standing(attack, plan.each).astype(np.int32)
        self.total, self.batches, self.began = len(self.left), 0, plan.tally.seconds[attack]

    def waiting(self) -> bool:
        """Whether images are left that no attack broke meanwhile."""
        while self.run < self.plan.runs[self.attack]:
            standing = self.plan.tally.standing(self.attack, self.plan.each)
            self.left = self.left[np.isin(self.left, standing)]
            if len(self.left) or not len(standing):
                return bool(len(self.left))
            self.plan.tally.end_run(self.attack)
            self.run += 1
            self.left, self.total = standing.astype(np.int32), len(standing)
        return False

    def next(self) -> Iterator[Task]:
        batch, self.left = self.left[: self.size], self.left[self.size :]
        self.batches += 1
        yield Task(self.attack, self.run, 0, batch, self.total - len(self.left), self.total)

    def _running(self) -> float:
        tally = self.plan.tally
        return max(1e-9, float(tally.seconds[self.attack] - tally.compile_seconds[self.attack]))

    def seconds_a_batch(self) -> float:
        return self._running() / self.batches if self.batches else 0.0

    def rate(self) -> float:
        """Images broken a second; what was never tried comes first, in the order asked for."""
        if not self.batches:
            return np.inf
        return float(self.plan.tally.fell[self.attack].sum()) / self._running()

    def skipped(self) -> Skipped:
        spec = self.plan.attacks[self.attack].text
        return Skipped(spec=spec, runs=self.plan.runs[self.attack] - self.run, images=len(self.left))


def _can_double(attack: Any) -> bool:
    early = attack.stops and not getattr(attack, "minimise", False)
    return early and attack.access == "gradient" and any(getattr(attack, b, 1) > 1 for b in BUDGETS)


def _needs(attack: Any) -> int:
    """Classes that the DLR loss is defined for."""
    return 4 if getattr(attack, "targets", 0) else 3


def doubled(spec: AttackSpec, times: int) -> AttackSpec:
    """The attack with 2**times as many steps; its random numbers stay, since they don't depend on steps."""
    if not times:
        return spec
    more = {name: getattr(spec.attack, name) * 2**times for name in BUDGETS if hasattr(spec.attack, name)}
    return AttackSpec(spec.text, replace(spec.attack, **more))
