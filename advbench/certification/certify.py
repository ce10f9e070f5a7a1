"""Certification of a model on images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from advbench.bounds import Method
from advbench.certification.certificate import (
    Certificate,
    CertifiedRow,
    Smoothing,
    contradictions,
)
from advbench.certification.deterministic import certified, lower_bounds
from advbench.certification.smoothing import least_draws, smooth
from advbench.core.ambient import own_settings
from advbench.core.batches import Batches
from advbench.core.errors import UsageError
from advbench.core.images import parts
from advbench.core.loaded import LoadedModel
from advbench.core.outputs import expecting
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.evaluation.judge import Judge
from advbench.evaluation.result import Rate, ThreatInfo
from advbench.preflight.classes import extra_outputs
from advbench.preflight.contract import check_outputs
from advbench.preflight.made import flags_of


@own_settings()
def certify(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    threat: ThreatSpec,
    method: Method | Smoothing,
    *,
    seed: int = 0,
    batch_size: int = 128,
    tell: Callable[[int, int], None] = lambda done, total: None,
    allow_extra_outputs: bool = False,
) -> Certificate:
    """Certify as many images as possible: no image in the ball around them is misclassified.

    Parameters
    ----------
    model : LoadedModel
        Model to certify.
    data, indices
        Data set, and indices of its images.
    threat : ThreatSpec
        Norm and eps; smoothing certifies in L2 only.
    method : Method or Smoothing
        Bounding method, or sampling parameters of smoothing.
    seed : int, default 0
        Fixes the noise of smoothing.
    batch_size : int, default 128
        Images in a call.
    tell : Callable[[int, int], None], optional
        Called with the number of images done and in all.
    allow_extra_outputs : bool, default False
        Accept more outputs than the data has classes; by default they are flagged.

    Returns
    -------
    Certificate
        Certified accuracy, with a row for each image.

    Raises
    ------
    UsageError
        When the model returns no logits, can't be bounded, or the method does not support the norm.
    """
    began = time.perf_counter()
    model.require(data)
    model = expecting(model, classes := len(data.classes))
    first = next(parts(data, indices, batch_size))
    outputs, _ = check_outputs(model, first.x, first.y, classes)
    flags = flags_of([extra_outputs(outputs, classes, allowed=allow_extra_outputs)])
    rows: list[CertifiedRow] = []
    for part in parts(data, indices, batch_size):

        def told(done: int, _: int, before: int = part.at) -> None:
            tell(before + done, len(indices))

        if isinstance(method, Smoothing):
            rows += _smoothed(model, part.x, part.y, part.indices, threat, method, seed, batch_size, told)
        else:
            rows += _bounded(model, part.x, part.y, part.indices.tolist(), threat, method, batch_size, told)
    return Certificate(
        model=model.name,
        digest=model.digest,
        data=data.name,
        split=data.split,
        threat=ThreatInfo.of(threat),
        method="smoothing" if isinstance(method, Smoothing) else method,
        smoothing=method if isinstance(method, Smoothing) else None,
        clean=Rate.of(sum(row.prediction == row.label for row in rows), len(rows)),
        certified=Rate.of(sum(row.certified for row in rows), len(rows)),
        abstained=sum(row.prediction is None for row in rows),
        flags=(*flags, *contradictions(rows)),
        seconds=time.perf_counter() - began,
        rows=tuple(rows),
    )


def _bounded(
    model: LoadedModel,
    x: np.ndarray,
    y: np.ndarray,
    indices: Sequence[int],
    threat: ThreatSpec,
    method: Method,
    batch_size: int,
    tell: Callable[[int, int], None],
) -> list[CertifiedRow]:
    judge = Judge(model.predict, threat, Batches(batch_size), batch_size)
    verdict, logits = judge(x, y, x), judge.logits(x)
    bounds = lower_bounds(model, threat, x, y, method, batch_size, tell)
    proven = certified(bounds, logits)
    return [
        CertifiedRow(
            index=int(index),
            label=int(y[at]),
            prediction=_known(verdict.prediction[at]),
            certified=bool(proven[at]),
            margin=float(bounds[at]) if np.isfinite(bounds[at]) else None,
        )
        for at, index in enumerate(indices)
    ]


def _smoothed(
    model: LoadedModel,
    x: np.ndarray,
    y: np.ndarray,
    indices: np.ndarray,
    threat: ThreatSpec,
    how: Smoothing,
    seed: int,
    batch_size: int,
    tell: Callable[[int, int], None],
) -> list[CertifiedRow]:
    if threat.norm != "l2":
        raise UsageError(f"smoothing certifies in l2, not in {threat.norm}: name it with --norm l2 --eps")
    if how.samples < (least := least_draws(how.alpha)):
        raise UsageError(
            f"{how.samples:,} draws an image can certify nothing at alpha {how.alpha:g}: it takes {least:,} or more"
        )
    found = smooth(model.predict, x, indices, how, seed=seed, batch_size=batch_size, tell=tell)
    return [
        CertifiedRow(
            index=int(index),
            label=int(y[at]),
            prediction=_known(found.prediction[at]),
            certified=bool(found.prediction[at] == y[at] and found.radius[at] > float(threat.eps)),
            radius=float(found.radius[at]),
        )
        for at, index in enumerate(indices)
    ]


def _known(prediction: Any) -> int | None:
    return None if prediction < 0 else int(prediction)
