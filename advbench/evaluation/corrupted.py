"""Accuracy under common corruptions: what a model loses without any adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import numpy as np
from pydantic import Field

from advbench.core.ambient import own_settings
from advbench.core.batches import Batches
from advbench.core.errors import InvalidEvaluation
from advbench.core.flag import Flag, Record
from advbench.core.images import parts, pixels
from advbench.core.loaded import LoadedModel
from advbench.core.outputs import expecting
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.data.corruptions import STAND_INS, corrupt
from advbench.evaluation.judge import Judge
from advbench.evaluation.result import Count, Fractional, Rate
from advbench.preflight.classes import extra_outputs
from advbench.preflight.contract import check_outputs

SCHEMA_VERSION: Final = 1


class Corrupted(Record):
    """Accuracy on all images under one corruption."""

    kind: str
    severity: Count
    rate: Rate


class Corruptions(Record):
    """One model on one data set; the mean is over all kinds and severities, of equal weight."""

    what: Literal["corruptions"] = "corruptions"
    schema_version: int = SCHEMA_VERSION
    model: str
    digest: str
    data: str
    split: str
    n: Count
    seed: Count
    clean: Rate
    corrupted: tuple[Corrupted, ...] = Field(strict=False)
    mean: Fractional
    stand_ins: dict[str, str]  # kinds that are made otherwise than in the published files


@own_settings()
def measure(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    kinds: Sequence[str],
    severities: Sequence[int],
    *,
    seed: int = 0,
    batch_size: int = 128,
    tell: Callable[[str, int, int], None] = lambda kind, done, total: None,
    allow_extra_outputs: bool = False,
) -> Corruptions:
    """Corrupt the images in every way asked for, and count what the model still gets right.

    Parameters
    ----------
    model, data, indices : which model, and which images of which data.
    kinds, severities : names in `advbench.data.corruptions.kinds`, and numbers from 1 to 5.
    seed : fixes all corruptions.
    batch_size : does not change the result.
    tell : called with the kind, and how many of how many corruptions are done.
    allow_extra_outputs : whether it is meant that the model has more outputs than the data classes.

    Raises
    ------
    UsageError
        When the model does not return one row of logits per image.
    InvalidEvaluation
        When it gives more outputs than there are classes, and that is not allowed.
    """
    model = expecting(model, classes := len(data.classes))
    judge = Judge(model.predict, ThreatSpec.parse("any", "1"), Batches(batch_size), batch_size)
    first = next(parts(data, indices, batch_size))
    outputs, _ = check_outputs(model, first.x, first.y, classes)
    extra = extra_outputs(outputs, classes, allowed=allow_extra_outputs)
    if isinstance(extra, Flag) and extra.level == "invalid":
        raise InvalidEvaluation(extra.message)

    def rate(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rate:
        """Accuracy on images after a change, which takes uint8 images and their numbers."""
        right = 0
        for part in parts(data, indices, batch_size):
            images = change(np.rint(part.x * 255).astype(np.uint8), part.indices)
            right += int((~judge(part.x, part.y, pixels(images)).broken).sum())
        return Rate.of(right, len(indices))

    unharmed, rows = rate(lambda images, _: images), []
    for kind in kinds:
        for severity in severities:
            made = partial(_corrupted, kind=kind, severity=severity, seed=seed)
            rows.append(Corrupted(kind=kind, severity=severity, rate=rate(made)))
            tell(kind, len(rows), len(kinds) * len(severities))
    return Corruptions(
        model=model.name,
        digest=model.digest,
        data=data.name,
        split=data.split,
        n=len(indices),
        seed=seed,
        clean=unharmed,
        corrupted=tuple(rows),
        mean=min(1.0, float(np.mean([row.rate.accuracy for row in rows]))),
        stand_ins={kind: how for kind, how in STAND_INS.items() if kind in kinds},
    )


def _corrupted(images: np.ndarray, indices: np.ndarray, *, kind: str, severity: int, seed: int) -> np.ndarray:
    return corrupt(images, kind, severity, indices=indices.tolist(), seed=seed)
