"""Evaluation in increments: more and more images of one order, until the caller has enough."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from advbench.core.errors import Inconclusive
from advbench.evaluation.evaluator import AttackOutcome, Evaluator
from advbench.evaluation.plan import Schedule
from advbench.evaluation.result import Result
from advbench.evaluation.run import RunDirectory
from advbench.evaluation.tally import AdversarialImages, Tally


class IncrementalEvaluation:
    """Evaluation in increments, whose result equals that of one evaluation of all the images.

    Parameters
    ----------
    evaluator : Evaluator
        Settings, with all images in the order in which they are drawn. Doublings are switched off: whether an attack
        has converged can't be decided on a part of the images.
    directory : RunDirectory, optional
        Stores every batch.
    """

    def __init__(self, evaluator: Evaluator, directory: RunDirectory | None = None):
        self.evaluator, self.directory = replace(evaluator, doublings=0), directory
        self.done: AttackOutcome | None = None
        self.started, self.seconds = datetime.now(UTC), 0.0

    @property
    def seen(self) -> int:
        """Number of images attacked so far."""
        return len(self.done.plan.tally.labels) if self.done else 0

    @property
    def good(self) -> np.ndarray:
        """Mask of robust images, bool `[seen]`, in the order in which they were drawn."""
        return self.done.plan.tally.robust if self.done else np.zeros(0, bool)

    def extend(self, n: int) -> None:
        """Attack the next `n` images; batches keep their shape, so that nothing recompiles.

        Parameters
        ----------
        n : int
            Number of images.

        Raises
        ------
        Interrupted
            When the evaluator's `should_stop` returned a signal: these images then do not count as attacked.
        Inconclusive
            When attacks skipped some of these images: none of them counts as attacked then.
        AdvbenchError
            As in `advbench.evaluation.evaluate`.
        """
        clock = time.perf_counter()
        part = replace(self.evaluator, indices=self.evaluator.indices[self.seen : self.seen + n])
        first = self.done.batches if self.done else 0
        new = part.attacked(self.directory, size=self.evaluator.batch_size, first=first)
        if new.plan.skipped:  # an image that no attack finished with must not count as robust
            words = (
                f"{s.spec} (no start on {s.images} images)" if s.reason == "start" else s.spec for s in new.plan.skipped
            )
            raise Inconclusive(f"these attacks could not be finished: {', '.join(words)}")
        self.done = _joined(self.done, new) if self.done else new
        self.seconds += time.perf_counter() - clock

    def result(self) -> tuple[Result, AdversarialImages]:
        """Return the result and the adversarial images of all images attacked so far, at least one."""
        assert self.done is not None, "nothing was attacked"  # noqa: S101 - the caller's mistake
        whole = replace(self.evaluator, indices=self.evaluator.indices[: self.seen])
        return whole.concluded(self.done, self.started, self.seconds)

    def finish(self) -> Result:
        """Return the result, and complete the run directory with it if there is one."""
        found = self.result()
        if self.directory:
            self.directory.finish(*found)
        return found[0]


def _joined(old: AttackOutcome, new: AttackOutcome) -> AttackOutcome:
    tally = Tally.join([old.plan.tally, new.plan.tally])
    plan = Schedule(tally, old.plan.attacks, old.plan.runs, old.plan.size, old.plan.each, 0)
    return AttackOutcome(plan, old.classes, min(old.limit, new.limit), new.batches)
