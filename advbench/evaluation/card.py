"""What was measured of a released model: the card beside its weights."""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from advbench.errors import UsageError, first_fault
from advbench.evaluation.result import Flag, Provenance, Rate, Record, Result, Seconds, ThreatInfo
from advbench.files import write

if TYPE_CHECKING:
    from advbench.certify import Certificate

CARD: Final = "card.json"


class Certified(Record):
    """What is proven on the same images, and by which method."""

    method: str
    rate: Rate


class Card(Record):
    """One evaluation of a released model, on the first images of the test set.

    `standing` has a bit an image, 1 where nothing broke it, the first image's bit highest, in base64. Since an image's
    attacks depend on nothing but the image and the seed, any part of them can be checked against it.
    """

    schema_version: Literal[1] = 1
    model: str
    digest: str
    data: str
    images: str  # digest of just these images and labels
    threat: ThreatInfo
    suite: tuple[str, ...] = Field(strict=False)  # attacks as asked for
    seed: int
    clean: Rate
    robust: Rate
    certified: Certified | None = None
    flags: tuple[Flag, ...] = Field(default=(), strict=False)
    standing: str
    seconds: Seconds  # of all attacks, compilation included
    provenance: Provenance

    @classmethod
    def of(cls, result: Result, suite: tuple[str, ...], certificate: Certificate | None = None) -> Card:
        """The card of an evaluation.

        Raises
        ------
        UsageError
            When its images are not the first ones, or it was not finished.
        """
        if not result.complete or [row.index for row in result.rows] != list(range(len(result.rows))):
            raise UsageError("a card tells of the first images of the test set, all of them attacked")
        return cls(
            model=result.model.name,
            digest=result.model.digest,
            data=result.data.name,
            images=result.data.digest,
            threat=result.threat,
            suite=suite,
            seed=result.seed,
            clean=result.clean,
            robust=result.robust,
            certified=Certified(method=certificate.method, rate=certificate.certified) if certificate else None,
            flags=result.flags,
            standing=b64encode(np.packbits([row.robust for row in result.rows]).tobytes()).decode(),
            seconds=sum(report.seconds for report in result.attacks),
            provenance=result.provenance,
        )

    @cached_property
    def mask(self) -> np.ndarray:
        """Whether each image stands, bool `[n]`."""
        return np.unpackbits(np.frombuffer(b64decode(self.standing), np.uint8), count=self.robust.n).astype(bool)

    def save(self, folder: Path) -> None:
        """Write it beside the weights."""
        write(folder / CARD, self.to_json().encode())

    @classmethod
    def load(cls, folder: Path) -> Card | None:
        """The card in a model's folder; None if it has none.

        Raises
        ------
        UsageError
            When the file is not a card.
        """
        try:
            text = (folder / CARD).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UsageError(f"{folder / CARD} is no card: {first_fault(error)}") from None
