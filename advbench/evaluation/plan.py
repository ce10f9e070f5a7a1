"""Schedule of an evaluation: attack after attack, or within a time limit the attack that breaks most per second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

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
from advbench.evaluation.task import Queue, Task


class Schedule:
    """The schedule; its generators choose each next task by the state of the tally.

    Parameters
    ----------
    tally : Tally
        Outcomes so far.
    attacks : list of AttackSpec
        Attacks in the order asked for.
    runs : list of int
        Trials of each attack: restarts times targets.
    size : int
        Images per batch.
    each : bool
        Let every attack try every image.
    doublings : int
        Most doublings of the steps, and of the restarts, of an attack that has not converged.
    """

    def __init__(self, tally: Tally, attacks: list[AttackSpec], runs: list[int], size: int, each: bool, doublings: int):
        self.tally, self.attacks, self.runs, self.size, self.each = tally, attacks, runs, size, each
        self.doublings = 0 if each else doublings
        self._left: tuple[Skipped, ...] = ()
        self.finished = 0  # images robust to every attack asked for, if a remote model ended the evaluation early
        self._begun = np.arange(0)  # images of the trial under way
        self._queues: list[Queue] = []
        self.deadline: float | None = None  # by `time.monotonic()`, with a time limit

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Work that was asked for and not done, one entry per attack and reason."""
        counts = [(a, self.tally.unstarted(a, self.each)) for a in range(len(self.attacks))]
        return self._left + tuple(
            Skipped(spec=self.attacks[a].text, runs=self.runs[a], images=images, reason="start")
            for a, images in counts
            if images
        )

    def whole(self) -> Iterator[Task]:
        """Yield all trials in the order asked for, then doublings of attacks that have not converged."""
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
        """List an attack's trials: each restart for all target classes before the next restart.

        Parameters
        ----------
        attack : int
            Position of the attack.
        double : {"steps", "restarts"}, optional
            List the trials of one more doubling: of "steps" all trials again, of "restarts" the new ones only.

        Returns
        -------
        list of tuple of int and Phase
            Number and phase of each trial.
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
        """Return whether an attack has not converged and may be doubled once more."""
        left = self.tally.falls.doublings[amount][attack] < self.doublings
        return left and doubles(self.attacks[attack].attack) and self.tally.moving(attack, amount, self.each)

    def _run(self, attack: int, run: int, turn: int, phase: Phase) -> Iterator[Task]:
        self.tally.begin_run(attack, phase)
        standing = self._begun = self.tally.remaining(attack, self.each).astype(np.int32)
        for at in range(0, len(standing), self.size):
            batch = standing[at : at + self.size]
            yield Task(attack, run, turn, phase, batch, at + len(batch), len(standing))
        self.tally.end_run(attack)

    def within(self, seconds: float) -> Iterator[Task]:
        """Yield small batches until the time limit: one of each attack, then of the one that breaks most per second.

        Batches that are left at the time limit, or would not finish before it, are skipped.
        """
        self.deadline, few = time.monotonic() + seconds, max(1, self.size // 4)
        queues = self._queues = [Queue(self, attack, few) for attack in range(len(self.attacks))]
        while True:
            left = self.deadline - time.monotonic()
            open_ = [q for q in queues if q.waiting() and q.seconds_a_batch() < left]
            if left <= 0 or not open_:
                break
            best = max(open_, key=lambda q: q.rate())
            yield from best.next()
        self._skip()

    def abandon(self, task: Task) -> None:
        """Record that the time limit was reached in the middle of a task, whose outcome is discarded."""
        queue = self._queues[task.attack]
        queue.left = np.concatenate([task.positions, queue.left])
        self._skip()

    def _skip(self) -> None:
        self._left = tuple(q.skipped() for q in self._queues if q.waiting())

    def cut(self, task: Task, reason: Literal["queries", "target"]) -> None:
        """Record the work left undone when a remote model stops answering in the middle of a task."""
        done = task.done - len(task.positions)
        left = [(task.attack, self.runs[task.attack] - task.turn, task.total - done)]
        for attack in range(task.attack + 1, len(self.attacks)):
            left.append((attack, self.runs[attack], len(self.tally.remaining(attack, self.each))))
        if self._queues:
            left = [(queue.attack, self.runs[queue.attack] - queue.run, len(queue.left)) for queue in self._queues]
        elif len(left) == left[0][1] == 1:
            self.finished = int(self.tally.robust[self._begun[:done]].sum())
        self._left = tuple(
            Skipped(spec=self.attacks[attack].text, runs=runs, images=images, reason=reason)
            for attack, runs, images in left
        )

    def flags(self, classes: int) -> list[Flag]:
        """Build the flags on convergence, skipped work and missing starts."""
        found = [] if self._left else self._converging()
        few = [s.text for s in self.attacks if getattr(s.attack, "loss", "") == "dlr" and classes < _needs(s.attack)]
        if few:
            found.append(
                Flag(
                    name="few_classes",
                    level="note",
                    evidence={"classes": classes, "attacks": few},
                    message=f"the DLR loss needs more than {classes} classes: "
                    f"{', '.join(few)} used the difference of logits instead",
                )
            )
        if self._left and self._left[0].reason == "time":
            words = ", ".join(f"{s.spec} ({s.runs} trials on {s.images} images)" for s in self._left)
            found.append(
                Flag(
                    name="time_budget",
                    level="note",
                    evidence={"skipped": [s.spec for s in self._left]},
                    message=f"the time limit was reached: robust accuracy is an upper bound; skipped: {words}",
                )
            )
        if starts := {s.spec: s.images for s in self.skipped if s.reason == "start"}:
            words = ", ".join(f"{spec} ({images} images)" for spec, images in starts.items())
            found.append(
                Flag(
                    name="no_start",
                    level="note",
                    evidence={"images": starts},
                    message="no misclassified image to start from was found, neither noise nor an image of another "
                    f"class, for {words}: these images were not attacked, and robust accuracy is an upper bound",
                )
            )
        return found

    def _slack(self, attack: int, amount: Amount) -> bool:
        """Return whether more steps or restarts of an attack would break too many of the robust images.

        After a doubling, that is measured. Otherwise the attack must have broken images until its end, and no later
        gradient attack may have broken further images and converged.
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
        """Flag attacks whose last doubling of steps or restarts broke too many of the robust images."""
        found = []
        for attack, spec in enumerate(self.attacks):
            standing = len(self.tally.remaining(attack, self.each))
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
                        message=f"only the last doubling of the {amount} of {spec.text} broke {late} images, and "
                        f"{standing} are robust so far: set {remedy(spec, amount, times)}",
                    )
                )
        return found


def _needs(attack: Any) -> int:
    """Return the smallest number of classes for which the DLR loss is defined."""
    return 4 if getattr(attack, "targets", 0) else 3
