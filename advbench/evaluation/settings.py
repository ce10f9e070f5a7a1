"""How an evaluation is done, whatever it is of; and what it tells after every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Required, TypedDict

from advbench.core.flag import Flag

DOUBLINGS = 2  # of the steps, and of the restarts, of an attack that has not converged, at most


class Progress(NamedTuple):
    """Where an evaluation is; told after every batch."""

    attack: str
    run: int  # of `runs`, from 0
    runs: int
    done: int  # images of this run, of `total`
    total: int
    robust: int  # images of all `n` that stand so far
    n: int
    resumed: bool  # this batch came from the run directory


def quietly(_: Progress) -> None:
    """Tell nobody."""


def nobody() -> int | None:
    """Never stop."""
    return None


class Told(TypedDict, total=False):
    """How an evaluation is done: what `evaluate` and `curve` hand to an `Evaluator`.

    Attributes
    ----------
    seed : int
        With the attack's name, the run and the data set's index it makes the key of each image, so that no result
        depends on batch size, order or resume. From 0 to 2**32 - 1.
    batch_size : int
        Images in a batch; halved where memory runs out.
    each : bool
        Let every attack try every image that is right when clean, so that its own strength is known.
    command : str
        What was typed, for the record.
    flags : sequence of Flag
        What a preflight found; they become part of the result.
    budget : float, optional
        Seconds: attacks are tried by what they break a second, and what does not fit is skipped and named. The
        result is then incomplete, its robust accuracy an upper bound, and it can't be resumed.
    doublings : int
        How often each iterative attack may double its steps, and its restarts, while it has not converged; 0: every
        attack as given.
    progress, should_stop : callable
        Told after every batch; asked before every batch: a signal's number ends the evaluation with what is done kept
        in the run directory.
    """

    seed: Required[int]
    batch_size: Required[int]
    each: bool
    command: str
    flags: Sequence[Flag]
    budget: float | None
    doublings: int
    progress: Callable[[Progress], None]
    should_stop: Callable[[], int | None]
