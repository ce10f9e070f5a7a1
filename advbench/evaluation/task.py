"""Work of an evaluation: one batch of one attack, and what is left for an attack under a time limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advbench.evaluation.convergence import Phase
from advbench.evaluation.result import Skipped

if TYPE_CHECKING:
    from advbench.evaluation.plan import Schedule


class Task(NamedTuple):
    """One batch of one trial of one attack."""

    attack: int  # position in the list of attacks
    run: int  # number of the trial: target class times restarts, plus restart
    turn: int  # number of the attack's trials before this one
    phase: Phase
    positions: np.ndarray  # int32 [m], in the list of images
    done: int  # images of this trial up to and including this batch
    total: int


class Queue:
    """Remaining work of one attack under a time limit."""

    def __init__(self, plan: Schedule, attack: int, size: int):
        self.plan, self.attack, self.size, self.run = plan, attack, size, 0
        self.order = plan.order(attack)
        self.left = plan.tally.remaining(attack, plan.each).astype(np.int32)
        self.total, self.batches, self.began = len(self.left), 0, plan.tally.seconds[attack]

    def waiting(self) -> bool:
        """Return whether images are left that no attack has broken meanwhile."""
        while self.run < self.plan.runs[self.attack]:
            standing = self.plan.tally.remaining(self.attack, self.plan.each)
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
        """Return images broken per second; infinity for an attack not tried yet, so that it comes first."""
        if not self.batches:
            return np.inf
        return float(self.plan.tally.fell[self.attack].sum()) / self._running()

    def skipped(self) -> Skipped:
        spec = self.plan.attacks[self.attack].text
        return Skipped(spec=spec, runs=self.plan.runs[self.attack] - self.run, images=len(self.left))
