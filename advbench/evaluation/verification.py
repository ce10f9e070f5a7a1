"""Check a finished run without trusting it, nor the code that made it.

Everything is computed again from the stored images: geometry in NumPy float64, predictions of the model loaded
afresh, in another batch shape, totals by counting rows, intervals by the quadratic whose roots they are.
That no attack would break a robust image can't be checked this way; that a broken image is broken can.
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
from advbench.evaluation.tally import Images
from advbench.remote import is_target, tried
from advbench.wrappers.facing import judged

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset

BATCH = 50  # images; not a shape that evaluations use


class Claim(NamedTuple):
    """One kind of statement in a result, and in what it fails; nothing when it holds."""

    name: str
    failures: list[str]


@dataclass(frozen=True)
class Verification:
    """All claims that were checked; `ties` counts predictions that were too close to call and let pass."""

    claims: tuple[Claim, ...]
    ties: int = 0

    @property
    def failures(self) -> list[str]:
        """Every failed claim, a line each."""
        return [f"{claim.name}: {failure}" for claim in self.claims for failure in claim.failures]

    @property
    def exit_code(self) -> int:
        """0, or 3 when a claim fails."""
        return 3 if self.failures else 0


@own_settings()
def verify(run: Path, *, model: LoadedModel | None = None, data: Dataset | None = None) -> Verification:
    """Check every claim of a run against its stored images.

    Parameters
    ----------
    run : Path
        A run directory.
    model : LoadedModel, optional
        Loaded from where the result says, if not given, unless that is code; its digest must be the one in the result.
    data : Dataset, optional
        Likewise.

    Returns
    -------
    Verification
        With every failed claim in words.

    Raises
    ------
    UsageError
        When the run, the model or the data can't be read at all.
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

        # A file that someone sent must not choose what code runs, or who is sent a token.
        if ":" in result.model.source or is_target(result.model.source):
            raise UsageError(f"the model of {run} is code or a URL: load {result.model.source} if you trust it")
        model = wrapped_as_in(
            result.model.record, load_model(result.model.source, Preprocess.of(result.model.preprocess)), data.shape
        )
    stored = Claim("stored images", list(_stored(result, images, data)))
    if stored.failures:
        return Verification((stored,))
    indices = [row.index for row in result.rows]
    model = tried(as_in(result.model.record, model, len(data.classes)), data.images[indices[:BATCH]], len(data.classes))
    clean, labels = choose(data.images, indices), data.labels[indices].astype(np.int32)
    logits = _logits(model, clean, images.x_adv)
    evidence = Evidence(result, images, clean, labels, model.digest, logits[: len(clean)], logits[len(clean) :])
    claims = [Claim(name, list(check(evidence))) for name, check in CHECKS.items()]
    return Verification((stored, *claims), ties(evidence))


def _stored(result: Result, images: Images, data: Dataset) -> Iterator[str]:
    """Whether there is an image of each row that needs one, in the form promised."""
    indices = [row.index for row in result.rows]
    if not indices or len(set(indices)) < len(indices) or max(indices) >= len(data.images):
        yield f"the rows should name different images of the {len(data.images)} there are"
    if images.index.tolist() != [row.index for _, row in broken_rows(result)]:
        yield "there should be one adversarial image for each row that an attack broke"
    if images.x_adv.shape != (len(images.index), *data.images.shape[1:]) or images.x_adv.dtype != np.float32:
        yield f"they are {images.x_adv.dtype} {list(images.x_adv.shape)}"
    content = sha256(images.index.astype("<i4").tobytes())
    for at in range(0, len(images.x_adv), BATCH):
        content.update(images.x_adv[at : at + BATCH].astype("<f4").tobytes())
    if (actual := content.hexdigest()) != result.adversarial_digest:
        yield f"sha256 {actual}, expected {result.adversarial_digest}"


def _logits(model: LoadedModel, clean: Any, x_adv: Any) -> np.ndarray:
    """Of clean images, uint8, and after them of adversarial ones, float32; some of them are in memory at once."""
    predict = jax.jit(lambda model, x: model(x))
    judge = judged(model.predict)
    with raised():
        parts = []
        for at in range(0, len(clean) + len(x_adv), BATCH):
            first = at - len(clean)
            made = x_adv[max(first, 0) : max(first + BATCH, 0)]
            x = np.concatenate([clean[at : at + BATCH] / np.float32(255), made])
            parts.append(np.asarray(predict(judge, x)))
    return np.concatenate(parts).astype(np.float64)
