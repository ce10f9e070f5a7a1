"""Run attacks on a model, each on the images still standing, and report the worst case image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from advbench.attacks.spec import AttackSpec
from advbench.core.errors import UsageError
from advbench.core.flag import Flag
from advbench.core.images import chosen
from advbench.core.spec import ThreatSpec
from advbench.evaluation.evaluator import (
    DOUBLINGS,
    Before,
    Evaluator,
    Progress,
    nobody,
    quietly,
)
from advbench.evaluation.result import Result

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset

__all__ = ["Progress", "curve", "evaluate"]


def evaluate(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    attacks: Sequence[AttackSpec],
    threat: ThreatSpec,
    *,
    seed: int,
    batch_size: int,
    out: Path | None = None,
    resume: bool = False,
    each: bool = False,
    progress: Callable[[Progress], None] = quietly,
    should_stop: Callable[[], int | None] = nobody,
    command: str = "",
    flags: Sequence[Flag] = (),
    budget: float | None = None,
    doublings: int = DOUBLINGS,
) -> Result:
    """Attack images and report how many withstand everything.

    Parameters
    ----------
    model : LoadedModel
        Its `predict` maps images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`.
    data : Dataset
        uint8 images and int32 labels.
    indices : sequence of int
        Which images of `data`, each once.
    attacks : sequence of AttackSpec
        In this order, cheap ones first: each sees only the images that are still standing.
    threat : ThreatSpec
        The norm and eps.
    seed : int
        With the attack's name, the run and the data set's index it makes the key of each image, so that no result
        depends on batch size, order or resume. From 0 to 2**32 - 1.
    batch_size : int
        Images in a batch; halved where memory runs out.
    out : Path, optional
        A run directory: the result, the adversarial images, and a journal from which `resume` goes on.
    resume : bool
        Go on with the run in `out` (or begin it).
    each : bool
        Let every attack try every image that is right when clean, so that its own strength is known.
    progress : callable
        Told after every batch.
    should_stop : callable
        Asked before every batch; a signal's number ends the evaluation with what is done kept in `out`.
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

    Returns
    -------
    Result
        With one row per image.

    Raises
    ------
    UsageError
        For images, labels, settings or a run directory that do not fit.
    DataUnavailable
        Memory or disk are too small.
    Interrupted
        `should_stop` said so.
    """
    images = chosen(indices, len(data.images))
    evaluator = Evaluator(
        model,
        data,
        images,
        list(attacks),
        threat,
        seed,
        batch_size,
        each,
        command,
        tuple(flags),
        budget,
        doublings,
        progress,
        should_stop,
    )
    return evaluator.run(out, resume)[0]


def curve(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    attacks: Sequence[AttackSpec],
    threats: Sequence[ThreatSpec],
    *,
    seed: int,
    batch_size: int,
    out: Path | None = None,
    resume: bool = False,
    each: bool = False,
    progress: Callable[[Progress], None] = quietly,
    should_stop: Callable[[], int | None] = nobody,
    command: str = "",
    flags: Sequence[Flag] = (),
    budget: float | None = None,
    doublings: int = DOUBLINGS,
) -> list[Result]:
    """Evaluate at several eps of one norm; nothing recompiles between them.

    An image broken at a smaller eps lies in every larger ball: it is carried over and not attacked again, so
    robust accuracy never rises with eps. Parameters are those of `evaluate`; `threats` share their norm, and each
    has a run directory of its own in `out`.

    Returns
    -------
    list of Result
        One per eps, from the smallest to the largest; the last is incomplete where a target ended.

    Raises
    ------
    UsageError
        When the norms differ or an eps repeats, and as `evaluate`.
    """
    ordered = sorted(threats, key=lambda threat: threat.eps.value)
    if len({threat.norm for threat in ordered}) != 1 or len({threat.eps.value for threat in ordered}) != len(ordered):
        raise UsageError("a curve needs one norm, and every eps once")
    images = chosen(indices, len(data.images))
    first = Evaluator(
        model,
        data,
        images,
        list(attacks),
        ordered[0],
        seed,
        batch_size,
        each,
        command,
        tuple(flags),
        None if budget is None else budget / len(ordered),
        doublings,
        progress,
        should_stop,
    )
    results: list[Result] = []
    before: Before | None = None
    for threat in ordered:
        folder = out / f"eps-{threat.eps.text.replace('/', '_')}" if out else None
        before = replace(first, threat=threat).run(folder, resume, before)
        results.append(before[0])
        if before[0].cut_short:
            break  # the target answers no more
    return results
