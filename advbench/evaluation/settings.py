"""Settings that all evaluations share, and their progress reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Required, TypedDict

from advbench.core.flag import Flag

DOUBLINGS = 2  # most doublings of the steps, and of the restarts, of an attack that has not converged


class EvaluationProgress(NamedTuple):
    """Progress of an evaluation, reported after every batch.

    Attributes
    ----------
    attack : str
        The attack as typed.
    run, runs : int
        Number of the trial, from 0, and how many there are.
    done, total : int
        Images of this trial that are done, and all of them.
    robust, n : int
        Images robust so far, and all images of the evaluation.
    resumed : bool
        Whether the batch was read from the run directory.
    """

    attack: str
    run: int
    runs: int
    done: int
    total: int
    robust: int
    n: int
    resumed: bool


def quietly(_: EvaluationProgress) -> None:
    """Ignore the progress."""


def nobody() -> int | None:
    """Never stop."""
    return None


class EvaluatorSettings(TypedDict, total=False):
    """Settings of an evaluation that `evaluate` and `curve` pass to an `Evaluator`.

    Attributes
    ----------
    seed : int
        From 0 to 2**32 - 1. With the attack's name, the trial and the image's index it determines the random key of
        each image, so no result depends on batch size, order or resume.
    batch_size : int
        Images per batch, at least 1; halved when memory runs out.
    each : bool
        Let every attack try every correctly classified image, to measure its own strength; no cascade.
    command : str
        The command as typed, for the record.
    flags : sequence of Flag
        Findings of the preflight checks; they become part of the result.
    budget : float, optional
        Time limit in seconds, above 0: the attack that breaks most images per second runs first, and what does not
        fit is skipped and named. The result is then incomplete, its robust accuracy an upper bound, and the run can't
        be resumed.
    doublings : int
        Most doublings of the steps, and of the restarts, of each gradient attack that has not converged; 0 runs
        every attack as given.
    progress : callable
        Called with a `EvaluationProgress` after every batch.
    should_stop : callable
        Called before every batch; a signal number ends the evaluation, and finished batches stay in the run directory.
    """

    seed: Required[int]
    batch_size: Required[int]
    each: bool
    command: str
    flags: Sequence[Flag]
    budget: float | None
    doublings: int
    progress: Callable[[EvaluationProgress], None]
    should_stop: Callable[[], int | None]
