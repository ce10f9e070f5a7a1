"""Verification of a finished run without trusting it or the code that made it.

Everything is recomputed from the stored images: geometry in NumPy float64, predictions of a newly loaded model in
another batch shape, totals by counting rows, intervals by the quadratic equation whose roots they are.
This proves that broken images are broken. It can't prove that no attack breaks a robust image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from advbench.core.ambient import own_settings
from advbench.core.errors import UsageError
from advbench.core.external import raised
from advbench.core.lazy import choose
from advbench.core.outputs import as_in
from advbench.evaluation.claims import (
    CHECKS,
    Evidence,
    broken_rows,
    ties,
)
from advbench.evaluation.result import Result
from advbench.evaluation.run import load_images
from advbench.evaluation.tally import AdversarialImages
from advbench.remote import is_target, probed
from advbench.wrappers.facing import judge_view

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset

BATCH = 50  # images; not a shape that evaluations use


class Claim(NamedTuple):
    """One kind of claim of a result, with a line for each failure; no line if it holds."""

    name: str
    failures: list[str]


@dataclass(frozen=True)
class Verification:
    """The claims of a result that were checked.

    Attributes
    ----------
    claims : tuple of Claim
        Each kind of claim with its failures.
    ties : int
        Predictions that differ from the record only by a tie of logits, which were accepted.
    """

    claims: tuple[Claim, ...]
    ties: int = 0

    @property
    def failures(self) -> list[str]:
        """All failures, a line each."""
        return [f"{claim.name}: {failure}" for claim in self.claims for failure in claim.failures]

    @property
    def exit_code(self) -> int:
        """Exit code: 0, or 3 if a claim fails."""
        return 3 if self.failures else 0


@own_settings()
def verify(run: Path, *, model: LoadedModel | None = None, data: Dataset | None = None) -> Verification:
    """Check every claim of a run against its stored images.

    Parameters
    ----------
    run : Path
        A run directory.
    model : LoadedModel, optional
        The model; by default loaded from the source that the result names, unless that is code or a URL. Its digest
        must be the one in the result.
    data : Dataset, optional
        The data set; by default loaded from the source that the result names.

    Returns
    -------
    Verification
        All claims, with every failure in words.

    Raises
    ------
    UsageError
        When the run, the model or the data can't be read at all, or the model would run code or need a URL.
    """
    result, images = Result.load(run), load_images(run)
    if data is None:
        from advbench.data import again

        about = result.data
        data = again(about.name, about.source, about.split, about.reading)
    if model is None:
        from advbench.core.preprocess import Preprocess
        from advbench.models.load import load_model
        from advbench.wrappers import wrapped_as_in

        # A result file from someone else must not choose the code that runs or the server that gets a token.
        if ":" in result.model.source or is_target(result.model.source):
            source = result.model.source
            raise UsageError(f"the model of {run} is code or a URL: if you trust {source}, name it with --model")
        model = wrapped_as_in(
            result.model.record, load_model(result.model.source, Preprocess.of(result.model.preprocess)), data.shape
        )
    stored = Claim("stored images", list(_stored(result, images, data)))
    if stored.failures:
        return Verification((stored,))
    indices = [row.index for row in result.rows]
    model = probed(
        as_in(result.model.record, model, len(data.classes)), data.images[indices[:BATCH]], len(data.classes)
    )
    clean, labels = choose(data.images, indices), data.labels[indices].astype(np.int32)
    logits = _logits(model, clean, images.x_adv)
    evidence = Evidence(result, images, clean, labels, model.digest, logits[: len(clean)], logits[len(clean) :])
    claims = [Claim(name, list(check(evidence))) for name, check in CHECKS.items()]
    return Verification((stored, *claims), ties(evidence))


def _stored(result: Result, images: AdversarialImages, data: Dataset) -> Iterator[str]:
    """Check that there is one image for each broken row, of the right shape, type and digest."""
    indices = [row.index for row in result.rows]
    if not indices or len(set(indices)) < len(indices) or max(indices) >= len(data.images):
        yield f"the rows should name distinct images of the {len(data.images)} in the data set"
    if images.index.tolist() != [row.index for _, row in broken_rows(result)]:
        yield "there should be one adversarial image for each row that an attack broke"
    if images.x_adv.shape != (len(images.index), *data.images.shape[1:]) or images.x_adv.dtype != np.float32:
        wanted = [len(images.index), *data.images.shape[1:]]
        yield f"x_adv is {images.x_adv.dtype} {list(images.x_adv.shape)}, not float32 {wanted}"
    content = sha256(images.index.astype("<i4").tobytes())
    for at in range(0, len(images.x_adv), BATCH):
        content.update(images.x_adv[at : at + BATCH].astype("<f4").tobytes())
    if (actual := content.hexdigest()) != result.adversarial_digest:
        yield f"sha256 {actual}, expected {result.adversarial_digest}"


def _logits(model: LoadedModel, clean: Any, x_adv: Any) -> np.ndarray:
    """Return logits, float64 `[n + b, K]`, of clean uint8 and then adversarial float32 images, batch by batch."""
    predict = jax.jit(lambda model, x: model(x))
    judge = judge_view(model.predict)
    with raised():
        parts = []
        for at in range(0, len(clean) + len(x_adv), BATCH):
            first = at - len(clean)
            made = x_adv[max(first, 0) : max(first + BATCH, 0)]
            x = np.concatenate([clean[at : at + BATCH] / np.float32(255), made])
            parts.append(np.asarray(predict(judge, x)))
    return np.concatenate(parts).astype(np.float64)
