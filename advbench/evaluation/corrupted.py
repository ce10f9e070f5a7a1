"""Accuracy under common corruptions, without any adversary."""

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
    """Accuracy on all images under one corruption.

    Attributes
    ----------
    kind : str
        Name of the corruption, of `advbench.data.corruptions.kinds`.
    severity : int
        From 1 to 5.
    rate : Rate
        Accuracy on the corrupted images.
    """

    kind: str
    severity: Count
    rate: Rate


class Corruptions(Record):
    """Accuracy of one model on one data set under corruptions.

    Attributes
    ----------
    model, digest : str
        Name of the model, and the digest of its weights.
    data, split, n : str, str, int
        Data set, split and number of images.
    seed : int
        Seed of all corruptions.
    clean : Rate
        Accuracy on the images before corruption.
    corrupted : tuple of Corrupted
        One per kind and severity.
    mean : float
        Mean accuracy over all kinds and severities with equal weight, in [0, 1].
    stand_ins : dict of str to str
        Kinds whose implementation differs from that of the published files, and how.
    """

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
    stand_ins: dict[str, str]


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
    """Measure accuracy under each kind and severity of corruption.

    Parameters
    ----------
    model : LoadedModel
        The model.
    data : Dataset
        uint8 images and int32 labels.
    indices : sequence of int
        Indices of the images of `data` to use.
    kinds : sequence of str
        Names of `advbench.data.corruptions.kinds`.
    severities : sequence of int
        From 1 to 5.
    seed : int
        Seed of all corruptions.
    batch_size : int
        Images per batch; does not change the result.
    tell : callable
        Called after each corruption with its kind, the number done and the number of all.
    allow_extra_outputs : bool
        Accept a model with more outputs than the data has classes.

    Returns
    -------
    Corruptions
        Accuracy per kind and severity, and their mean.

    Raises
    ------
    UsageError
        When the model does not return one row of logits per image.
    InvalidEvaluation
        When it has more outputs than there are classes, and that is not allowed.
    """
    model = expecting(model, classes := len(data.classes))
    judge = Judge(model.predict, ThreatSpec.parse("any", "1"), Batches(batch_size), batch_size)
    first = next(parts(data, indices, batch_size))
    outputs, _ = check_outputs(model, first.x, first.y, classes)
    extra = extra_outputs(outputs, classes, allowed=allow_extra_outputs)
    if isinstance(extra, Flag) and extra.level == "invalid":
        raise InvalidEvaluation(extra.message)

    def rate(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rate:
        """Return the accuracy on images after `change`, which takes uint8 images and their indices."""
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
