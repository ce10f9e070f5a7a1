"""What was measured of a released model: the card beside its weights."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from advbench.core.errors import UsageError, first_fault
from advbench.core.files import write
from advbench.core.flag import Flag, Record
from advbench.evaluation.result import (
    Count,
    Provenance,
    Rate,
    Result,
    Seconds,
    ThreatInfo,
)

if TYPE_CHECKING:
    from advbench.certification import Certificate

CARD: Final = "card.json"


class Certified(Record):
    """What is proven on the same images, and by which method."""

    method: str
    rate: Rate


class Part(Record):
    """Consecutive images that were measured together."""

    n: Count
    images: str  # digest of just these images and labels
    seconds: Seconds  # of all attacks, compilation included
    provenance: Provenance


class Card(Record):
    """One evaluation of a released model, on the first images of the test set, in one part or several.

    `standing` has a bit an image, 1 where nothing broke it, the first image's bit highest, in base64. Since an image's
    attacks depend on nothing but the image and the seed, any part of them can be checked against it, and more images
    can be measured later.
    """

    schema_version: Literal[1] = 1
    model: str
    digest: str
    data: str
    threat: ThreatInfo
    suite: tuple[str, ...] = Field(strict=False)  # attacks as asked for
    seed: int
    clean: Rate
    robust: Rate
    certified: Certified | None = None
    flags: tuple[Flag, ...] = Field(default=(), strict=False)
    standing: str
    parts: tuple[Part, ...] = Field(strict=False)

    @classmethod
    def of(
        cls, result: Result, suite: tuple[str, ...], certificate: Certificate | None = None, before: Card | None = None
    ) -> Card:
        """The card of an evaluation, which goes on where the card `before` ended.

        Raises
        ------
        UsageError
            When its images are not the first ones, or the next ones, it was not finished, or it is another model's.
        """
        first = before.robust.n if before else 0
        if not result.complete or [row.index for row in result.rows] != list(range(first, first + len(result.rows))):
            raise UsageError(f"a card tells of the test set's images from {first} on, all of them attacked")
        card = cls(
            model=result.model.name,
            digest=result.model.digest,
            data=result.data.name,
            threat=result.threat,
            suite=suite,
            seed=result.seed,
            clean=result.clean,
            robust=result.robust,
            certified=Certified(method=certificate.method, rate=certificate.certified) if certificate else None,
            flags=result.flags,
            standing=_packed([row.robust for row in result.rows]),
            parts=(
                Part(
                    n=len(result.rows),
                    images=result.data.digest,
                    seconds=sum(report.seconds for report in result.attacks),
                    provenance=result.provenance.model_copy(update={"command": _typed(result.provenance.command)}),
                ),
            ),
        )
        return before.followed_by(card) if before else card

    def followed_by(self, card: Card) -> Card:
        """Join the card of the next images to this one.

        Raises
        ------
        UsageError
            When they differ in anything but the images.
        """
        if self.question != card.question:
            raise UsageError(f"{self.model}: this card can't go on, for it is about something else: remove it")
        both = {
            "clean": self.clean + card.clean,
            "robust": self.robust + card.robust,
            "flags": (*self.flags, *(flag for flag in card.flags if flag.name not in {f.name for f in self.flags})),
            "standing": _packed([*self.mask, *card.mask]),
            "parts": (*self.parts, *card.parts),
        }
        if self.certified and card.certified:
            rate = self.certified.rate + card.certified.rate
            both["certified"] = Certified(method=self.certified.method, rate=rate)
        return self.model_copy(update=both)

    @property
    def question(self) -> tuple[object, ...]:
        """What was asked: two cards with the same question differ in images alone."""
        method = self.certified.method if self.certified else None
        return self.digest, self.data, str(self.threat), self.suite, self.seed, method

    @property
    def seconds(self) -> float:
        """Of all attacks on all images."""
        return sum(part.seconds for part in self.parts)

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


def _packed(standing: list[bool]) -> str:
    return b64encode(np.packbits(standing).tobytes()).decode()


def _typed(command: str) -> str:
    """A command without where its run was kept: that is of one machine, and what was asked is of all."""
    return re.sub(r" --out ('[^']*'|\S+)| --resume", "", command)
