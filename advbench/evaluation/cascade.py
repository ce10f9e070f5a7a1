"""Run attacks on a model, each on the images that no earlier attack broke, and report robust accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from advbench.attacks.spec import AttackSpec
from advbench.core.errors import UsageError
from advbench.core.images import chosen
from advbench.core.spec import ThreatSpec
from advbench.evaluation.evaluator import Before, Evaluator
from advbench.evaluation.result import Result
from advbench.evaluation.settings import EvaluationProgress, EvaluatorSettings

if TYPE_CHECKING:
    from typing import Unpack

    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset

__all__ = ["EvaluationProgress", "curve", "evaluate"]


def evaluate(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    attacks: Sequence[AttackSpec],
    threat: ThreatSpec,
    *,
    out: Path | None = None,
    resume: bool = False,
    **options: Unpack[EvaluatorSettings],
) -> Result:
    """Attack images and report how many are robust to all attacks.

    Parameters
    ----------
    model : LoadedModel
        Its `predict` maps images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`.
    data : Dataset
        uint8 images and int32 labels.
    indices : sequence of int
        Indices of the images of `data` to attack, each once.
    attacks : sequence of AttackSpec
        Attacks in the order in which they run, cheap ones first: each sees only the images that are not broken yet.
    threat : ThreatSpec
        The norm and eps.
    out : Path, optional
        Run directory: the result, the adversarial images, and a journal from which `resume` continues.
    resume : bool
        Continue the run in `out`, or begin it.
    **options
        Seed, batch size and the other settings that `EvaluatorSettings` lists.

    Returns
    -------
    Result
        The result, with one row per image.

    Raises
    ------
    UsageError
        For images, labels, settings or a run directory that do not fit.
    DataUnavailable
        When memory or disk space does not suffice.
    Interrupted
        When `should_stop` returned a signal.
    """
    images = chosen(indices, len(data.images))
    return Evaluator(model, data, images, list(attacks), threat, **options).run(out, resume)[0]


def curve(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    attacks: Sequence[AttackSpec],
    threats: Sequence[ThreatSpec],
    *,
    out: Path | None = None,
    resume: bool = False,
    **options: Unpack[EvaluatorSettings],
) -> list[Result]:
    """Evaluate at several eps of one norm; nothing recompiles between them.

    An adversarial image of a smaller eps lies in every larger ball: it is carried over and its image is not attacked
    again, so robust accuracy never rises with eps.

    Parameters
    ----------
    model, data, indices, attacks, resume, **options
        As in `evaluate`.
    threats : sequence of ThreatSpec
        Threats of one norm, each eps once, in any order.
    out : Path, optional
        Folder in which each eps gets a run directory of its own.

    Returns
    -------
    list of Result
        One per eps, from the smallest to the largest; the last is incomplete if a remote model stopped answering.

    Raises
    ------
    UsageError
        When the norms differ or an eps repeats, and as in `evaluate`.
    """
    ordered = sorted(threats, key=lambda threat: threat.eps.value)
    if len({threat.norm for threat in ordered}) != 1 or len({threat.eps.value for threat in ordered}) != len(ordered):
        raise UsageError("several eps need one norm, and each eps only once")
    images = chosen(indices, len(data.images))
    first = Evaluator(model, data, images, list(attacks), ordered[0], **options)
    if first.budget is not None:
        first = replace(first, budget=first.budget / len(ordered))
    results: list[Result] = []
    before: Before | None = None
    for threat in ordered:
        folder = out / f"eps-{threat.eps.text.replace('/', '_')}" if out else None
        before = replace(first, threat=threat).run(folder, resume, before)
        results.append(before[0])
        if before[0].cut_short:
            break  # the remote model no longer answers
    return results
