"""Comparison of two evaluations of the same images under the same threat, image by image."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from advbench.core.errors import UsageError
from advbench.core.flag import Record
from advbench.evaluation.paired import Difference
from advbench.evaluation.result import Count, Result, ThreatInfo

COMPARISON_SCHEMA_VERSION: Final = 1


class Side(Record):
    """One of the two evaluations.

    Attributes
    ----------
    model, digest : str
        Name of the model, and the digest of its weights.
    attacks : tuple of str
        Attacks as typed, in the order in which they ran.
    seed : int
        Seed of the evaluation.
    commit : str or None
        Commit checked out where the command ran, in hex.
    started : str
        Time of the start: UTC, ISO 8601.
    """

    model: str
    digest: str
    attacks: tuple[str, ...] = Field(strict=False)
    seed: int
    commit: str | None
    started: str


class Comparison(Record):
    """The second evaluation against the first.

    Attributes
    ----------
    before, after : Side
        The first and the second evaluation.
    data, images : str
        Data set and split, and the images compared, in words.
    threat : ThreatInfo
        The threat of both.
    clean, robust : Difference
        Change of clean and of robust accuracy, in [-1, 1].
    lost, won : tuple of int
        Indices in the data set of images robust in the first only, and in the second only.
    notes : tuple of str
        Other differences between the two: attacks, mode, seed, versions, an incomplete side.
    """

    schema_version: Literal[1] = COMPARISON_SCHEMA_VERSION
    before: Side
    after: Side
    data: str
    images: str
    threat: ThreatInfo
    clean: Difference
    robust: Difference
    lost: tuple[Count, ...] = Field(strict=False)
    won: tuple[Count, ...] = Field(strict=False)
    notes: tuple[str, ...] = Field(strict=False)

    @classmethod
    def of(cls, before: Result, after: Result) -> Comparison:
        """Compare two results image by image.

        Parameters
        ----------
        before, after : Result
            Results of the same images under the same threat.

        Returns
        -------
        Comparison
            The differences of `after` from `before`.

        Raises
        ------
        UsageError
            When images, norm or eps differ, naming all that do.
        """
        if differing := _differing(before, after):
            raise UsageError(f"these evaluations can't be compared: they differ in {', '.join(differing)}")
        rows = list(zip(before.rows, after.rows, strict=True))
        return cls(
            before=_side(before),
            after=_side(after),
            data=f"{before.data.name} {before.data.split}",
            images=before.data.indices,
            threat=before.threat,
            clean=Difference.of([b.broken_by != "clean" for b, _ in rows], [a.broken_by != "clean" for _, a in rows]),
            robust=Difference.of([b.robust for b, _ in rows], [a.robust for _, a in rows]),
            lost=tuple(b.index for b, a in rows if b.robust and not a.robust),
            won=tuple(b.index for b, a in rows if a.robust and not b.robust),
            notes=_notes(before, after),
        )


def _differing(before: Result, after: Result) -> list[str]:
    """List differences that make the numbers incomparable."""
    found = []
    rows = [[(row.index, row.label) for row in result.rows] for result in (before, after)]
    if before.data.digest != after.data.digest or rows[0] != rows[1]:
        found.append(f"images ({_images(before)} and {_images(after)})")
    if before.threat.norm != after.threat.norm:
        found.append(f"norm ({before.threat.norm} and {after.threat.norm})")
    if before.threat.eps_exact != after.threat.eps_exact:
        found.append(f"eps ({before.threat.eps} and {after.threat.eps})")
    return found


def _images(result: Result) -> str:
    data = result.data
    return f"{len(result.rows):,} of {data.name} {data.split}, {data.indices}, sha256 {data.digest[:12]}"


def _notes(before: Result, after: Result) -> tuple[str, ...]:
    """List differences that leave the numbers comparable but matter to their reader."""

    def suite(result: Result) -> str:
        return ", ".join(report.spec for report in result.attacks)

    pairs = [
        ("attacks", suite(before), suite(after)),
        ("mode", before.mode, after.mode),
        ("seed", str(before.seed), str(after.seed)),
        ("advbench", *(r.provenance.versions.get("advbench", "?") for r in (before, after))),
        ("jax", *(r.provenance.versions.get("jax", "?") for r in (before, after))),
    ]
    found = [f"{what} changed: {was} before, {now} after" for what, was, now in pairs if was != now]
    for which, result in (("first", before), ("second", after)):
        if result.state != "complete":
            found.append(f"the {which} evaluation is {result.state}")
    return tuple(found)


def _side(result: Result) -> Side:
    return Side(
        model=result.model.name,
        digest=result.model.digest,
        attacks=tuple(report.spec for report in result.attacks),
        seed=result.seed,
        commit=result.provenance.commit,
        started=result.provenance.started,
    )
