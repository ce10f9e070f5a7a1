"""Results of a released model: the card beside its weights."""

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
    """Certified accuracy on the same images, and the method."""

    method: str
    rate: Rate


class CardPart(Record):
    """Consecutive images that were evaluated together."""

    n: Count
    images: str  # sha256 of just these images and labels
    seconds: Seconds  # of all attacks, compilation included
    provenance: Provenance


class Card(Record):
    """One evaluation of a released model, on the first images of the test set, in one part or several.

    `standing` has a bit for each image, 1 if robust, the first image's bit highest, in base64. Since an image's attacks
    depend on nothing but the image and the seed, any part of them can be checked against the card, and it can be
    extended by more images later.
    """

    schema_version: Literal[1] = 1
    model: str
    digest: str
    data: str
    threat: ThreatInfo
    suite: tuple[str, ...] = Field(strict=False)  # attacks as typed
    seed: int
    clean: Rate
    robust: Rate
    certified: Certified | None = None
    flags: tuple[Flag, ...] = Field(default=(), strict=False)
    standing: str
    parts: tuple[CardPart, ...] = Field(strict=False)

    @classmethod
    def of(
        cls, result: Result, suite: tuple[str, ...], certificate: Certificate | None = None, before: Card | None = None
    ) -> Card:
        """Make the card of an evaluation, or extend the card `before` by it.

        Parameters
        ----------
        result : Result
            Complete evaluation of the next images.
        suite : tuple[str, ...]
            Attacks as typed.
        certificate : Certificate, optional
            Certificate on the same images.
        before : Card, optional
            Card of all images before these.

        Returns
        -------
        Card
            The card.

        Raises
        ------
        UsageError
            When its images are not the next ones, it is incomplete, or it concerns another model.
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
                CardPart(
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

        Parameters
        ----------
        card : Card
            Card of the next images.

        Returns
        -------
        Card
            Card of all images.

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
        """Model, data, threat model, attacks, seed and method: two cards that share them differ in images alone."""
        method = self.certified.method if self.certified else None
        return self.digest, self.data, str(self.threat), self.suite, self.seed, method

    @property
    def seconds(self) -> float:
        """Time of all attacks on all images, in seconds."""
        return sum(part.seconds for part in self.parts)

    @cached_property
    def mask(self) -> np.ndarray:
        """Mask of robust images, bool `[n]`."""
        return np.unpackbits(np.frombuffer(b64decode(self.standing), np.uint8), count=self.robust.n).astype(bool)

    def save(self, folder: Path) -> None:
        """Write the card beside the weights.

        Parameters
        ----------
        folder : Path
            Folder of the model.
        """
        write(folder / CARD, self.to_json().encode())

    @classmethod
    def load(cls, folder: Path) -> Card | None:
        """Read the card in a model's folder; None if there is none.

        Parameters
        ----------
        folder : Path
            Folder of the model.

        Returns
        -------
        Card or None
            The card.

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
    """Drop the run directory from a command: it belongs to one machine, the rest of the command to all."""
    return re.sub(r" --out ('[^']*'|\S+)| --resume", "", command)
