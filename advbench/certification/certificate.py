"""Certificates, one row for each image, with the result of an attack on the same images if joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from advbench.core.errors import UsageError
from advbench.core.flag import Flag, Record
from advbench.evaluation.result import (
    Count,
    Rate,
    Result,
    Seconds,
    ThreatInfo,
)

SCHEMA_VERSION: Final = 1


class Smoothing(Record):
    """Sampling parameters of a smoothed classifier."""

    sigma: float
    samples: Count  # draws that estimate the probability of the selected class
    selection: Count  # draws that select the class
    alpha: float  # probability that a row's radius is wrong


class CertifiedRow(Record):
    """Certificate of one image."""

    index: Count  # in the data set's split
    label: Count
    prediction: int | None  # on the clean image; None: abstained, or not finite
    certified: bool  # correct, and no image of the ball is misclassified
    margin: float | None = None  # lower bound of the right logit minus every other one; None: no bound
    radius: float | None = None  # of a smoothed prediction: the L2 ball in which it is constant
    broken_by: str | None = None  # the attack that broke it, or "clean"


class Certificate(Record):
    """Certified accuracy of one model under one threat model: a lower bound; with an attack also an upper bound."""

    what: Literal["certificate"] = "certificate"
    schema_version: Literal[1] = SCHEMA_VERSION
    model: str
    digest: str
    data: str
    split: str
    threat: ThreatInfo
    method: Literal["ibp", "crown-ibp", "crown", "smoothing"]
    smoothing: Smoothing | None = None
    clean: Rate
    certified: Rate
    abstained: Count
    attacks: tuple[str, ...] = Field(default=(), strict=False)
    attacked: Rate | None = None  # robust accuracy under the attacks: an upper bound of the true one
    flags: tuple[Flag, ...] = Field(default=(), strict=False)
    seconds: Seconds
    rows: tuple[CertifiedRow, ...] = Field(strict=False)

    @property
    def undecided(self) -> int:
        """Number of images neither certified nor, as far as known, broken."""
        return (self.attacked or self.clean).correct - self.certified.correct

    def joined(self, result: Result) -> Certificate:
        """Add an upper bound from an attack.

        Parameters
        ----------
        result : Result
            Evaluation of the same model, threat model and images.

        Returns
        -------
        Certificate
            Certificate with both bounds.

        Raises
        ------
        UsageError
            When the attack was on another model or threat model, or did not cover all of these images.
        """
        self._comparable(result)
        by = {row.index: row for row in result.rows}
        rows = [row.model_copy(update={"broken_by": by[row.index].broken_by}) for row in self.rows]
        attacked = Rate.of(sum(by[row.index].robust for row in self.rows), len(rows))
        attacks = tuple(report.spec for report in result.attacks)
        both = {"rows": tuple(rows), "attacks": attacks, "attacked": attacked}
        return self.model_copy(update=both | {"flags": (*result.flags, *contradictions(rows))})

    def _comparable(self, result: Result) -> None:
        if self.method == "smoothing":
            raise UsageError("an attack on the model says nothing of its smoothed classifier: leave the attack out")
        mine = (self.digest, self.data, self.split, self.threat.norm, self.threat.fraction)
        other = (result.model.digest, result.data.name, result.data.split, result.threat.norm, result.threat.fraction)
        names = ("model", "data", "split", "norm", "eps")
        if differ := [name for name, a, b in zip(names, mine, other, strict=True) if a != b]:
            raise UsageError(f"the run can't be joined: its {', '.join(differ)} differs from what is certified")
        missing = {row.index for row in self.rows} - {row.index for row in result.rows}
        if missing:
            raise UsageError(f"the run did not attack image {min(missing)}: certify the images that it attacked")


def contradictions(rows: Sequence[CertifiedRow]) -> list[Flag]:
    """Flag images that are both certified and misclassified somewhere in the ball.

    Parameters
    ----------
    rows : Sequence[CertifiedRow]
        Rows of a certificate.

    Returns
    -------
    list[Flag]
        At most one flag, of level "invalid".
    """
    wrong = [row.index for row in rows if row.certified and (row.broken_by or row.prediction != row.label)]
    if not wrong:
        return []
    few = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
    message = f"{len(wrong)} images are both certified and broken: {few}; one of the two is faulty"
    return [Flag(name="certified_yet_broken", level="invalid", evidence={"images": wrong}, message=message)]
