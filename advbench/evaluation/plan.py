"""What an evaluation does next: attack after attack, or within a time budget what breaks most a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from advbench.attacks.spec import AttackSpec
from advbench.core.flag import Flag
from advbench.evaluation.convergence import (
    AMOUNTS,
    Amount,
    Phase,
    bound,
    doubles,
    remedy,
)
from advbench.evaluation.result import Skipped
from advbench.evaluation.tally import Tally


class Task(NamedTuple):
    """One batch of one run of one attack."""

    attack: int
    run: int  # its number: target class times restarts, plus restart
    turn: int  # how many of the attack's runs came before
    phase: Phase
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
        How often the steps, and the restarts, of an attack that has not converged may double.
    """

    def __init__(self, tally: Tally, attacks: list[AttackSpec], runs: list[int], size: int, each: bool, doublings: int):
        self.tally, self.attacks, self.runs, self.size, self.each = tally, attacks, runs, size, each
        self.doublings = 0 if each else doublings
        self._left: tuple[Skipped, ...] = ()
        self.finished = 0  # images that withstood everything asked for, where that ended early
        self._begun = np.arange(0)  # images of the run under way
        self._queues: list[_Queue] = []
        self.deadline: float | None = None  # by `time.monotonic()`, within a time budget

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was asked for and not done: where time or target ended, and images that an attack had no start for."""
        counts = [(a, self.tally.unstarted(a, self.each)) for a in range(len(self.attacks))]
        return self._left + tuple(
            Skipped(spec=self.attacks[a].text, runs=self.runs[a], images=images, reason="start")
            for a, images in counts
            if images
        )

    def whole(self) -> Iterator[Task]:
        """Everything, in the order asked for; then more of what has not converged, on the images that stand."""
        for attack in range(len(self.attacks)):
            for turn, (run, phase) in enumerate(self.order(attack)):
                yield from self._run(attack, run, turn, phase)
        more = True
        while more:
            more = False
            for attack in range(len(self.attacks)):
                for amount in AMOUNTS:
                    if self._doubles(attack, amount):
                        more = True
                        for turn, (run, phase) in enumerate(self.order(attack, amount)):
                            yield from self._run(attack, run, turn, phase)

    def order(self, attack: int, double: Amount | None = None) -> list[tuple[int, Phase]]:
        """An attack's runs, by number, and what each is: each restart of all targets before the next restart.

        Parameters
        ----------
        attack : int
            Which.
        double : "steps" or "restarts", optional
            The runs that come of doubling these once more: all of them with more steps, or those that are new.
        """
        times = {amount: self.tally.falls.doublings[amount][attack] + (amount == double) for amount in AMOUNTS}
        asked = self.attacks[attack].attack.restarts
        restarts = asked * 2 ** times["restarts"]
        first = restarts // 2 if double == "restarts" else 0
        return [
            (target * restarts + restart, Phase(restart, restarts, times["steps"], times["restarts"], double))
            for restart in range(first, restarts)
            for target in range(self.runs[attack] // asked)
        ]

    def _doubles(self, attack: int, amount: Amount) -> bool:
        """Whether an attack that has not converged may still be doubled."""
        left = self.tally.falls.doublings[amount][attack] < self.doublings
        return left and doubles(self.attacks[attack].attack) and self.tally.moving(attack, amount, self.each)

    def _run(self, attack: int, run: int, turn: int, phase: Phase) -> Iterator[Task]:
        self.tally.begin_run(attack, phase)
        standing = self._begun = self.tally.standing(attack, self.each).astype(np.int32)
        for at in range(0, len(standing), self.size):
            batch = standing[at : at + self.size]
            yield Task(attack, run, turn, phase, batch, at + len(batch), len(standing))
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
        self._left = tuple(q.skipped() for q in self._queues if q.waiting())

    def cut(self, task: Task, reason: Literal["queries", "target"]) -> None:
        """Note what is left undone when a target ends in the middle of a task."""
        done = task.done - len(task.positions)
        left = [(task.attack, self.runs[task.attack] - task.turn, task.total - done)]
        for attack in range(task.attack + 1, len(self.attacks)):
            left.append((attack, self.runs[attack], len(self.tally.standing(attack, self.each))))
        if self._queues:
            left = [(queue.attack, self.runs[queue.attack] - queue.run, len(queue.left)) for queue in self._queues]
        elif len(left) == left[0][1] == 1:
            self.finished = int(self.tally.robust[self._begun[:done]].sum())
        self._left = tuple(
            Skipped(spec=self.attacks[attack].text, runs=runs, images=images, reason=reason)
            for attack, runs, images in left
        )

    def flags(self, classes: int) -> list[Flag]:
        """What to say about how far the attacks went."""
        found = [] if self._left else self._converging()
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
        if self._left and self._left[0].reason == "time":
            words = ", ".join(f"{s.spec} ({s.runs} runs on {s.images} images)" for s in self._left)
            found.append(
                Flag(
                    name="time_budget",
                    level="note",
                    evidence={"skipped": [s.spec for s in self._left]},
                    message=f"time was up: robust accuracy is an upper bound; skipped: {words}",
                )
            )
        if starts := {s.spec: s.images for s in self.skipped if s.reason == "start"}:
            words = ", ".join(f"{spec} ({images} images)" for spec, images in starts.items())
            found.append(
                Flag(
                    name="no_start",
                    level="note",
                    evidence={"images": starts},
                    message="no noise and no image of another class was misclassified, so that these could not begin: "
                    f"{words}; the images were not tried, and robust accuracy is an upper bound",
                )
            )
        return found

    def _slack(self, attack: int, amount: Amount) -> bool:
        """Whether more of an attack would break too many of the images that stand, as far as is known.

        Where it was doubled, that is known. Else images must have fallen till the end; and no later attack of its kind
        may have broken what this one left and have converged.
        """
        if not self.tally.moving(attack, amount, self.each):
            return False
        if self.tally.falls.doublings[amount][attack]:
            return True
        later = [] if self.each else range(attack + 1, len(self.attacks))
        surpassed = any(
            doubles(self.attacks[a].attack)
            and self.tally.late(a, "steps") is not None
            and self.tally.fell[a].any()
            and not self.tally.moving(a, "steps", self.each)
            for a in later
        )
        return self.tally.falling(attack, amount, self.each) and not surpassed

    def _converging(self) -> list[Flag]:
        """Attacks whose last doubling, of the steps or of the restarts, broke too many of the images that stand."""
        found = []
        for attack, spec in enumerate(self.attacks):
            standing = len(self.tally.standing(attack, self.each))
            for amount in AMOUNTS:
                if not self._slack(attack, amount):
                    continue
                late, times = self.tally.late(attack, amount), self.tally.falls.doublings[amount][attack]
                found.append(
                    Flag(
                        name="under_converged",
                        level="invalid" if doubles(spec.attack) and not self.each else "note",
                        evidence={
                            "attack": spec.text,
                            "amount": amount,
                            "late": late,
                            "standing": standing,
                            "bound": bound(standing),
                            "doublings": times,
                        },
                        message=f"{late} images fell only in the last doubling of the {amount} of {spec.text}, and "
                        f"{standing} stand: give it {remedy(spec, amount, times)}",
                    )
                )
        return found


class _Queue:
    """What one attack has still to do."""

    def __init__(self, plan: Plan, attack: int, size: int):
        self.plan, self.attack, self.size, self.run = plan, attack, size, 0
        self.order = plan.order(attack)
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
        run, phase = self.order[self.run]
        self.plan.tally.begin_run(self.attack, phase)
        yield Task(self.attack, run, self.run, phase, batch, self.total - len(self.left), self.total)

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


def _needs(attack: Any) -> int:
    """Classes that the DLR loss is defined for."""
    return 4 if getattr(attack, "targets", 0) else 3
