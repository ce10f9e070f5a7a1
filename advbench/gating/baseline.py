"""Baselines: outcomes of an earlier gate, image by image, small enough to review, for paired comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from advbench.core.errors import UsageError, first_fault
from advbench.core.flag import Record
from advbench.evaluation.result import Count, ThreatInfo

BASELINE_SCHEMA_VERSION: Final = 1
LARGEST = 64 << 20  # bytes
WIDTH = 64  # outcomes a line


class Scope(NamedTuple):
    """Facts that two gates must share to be compared, besides threat models and attacks.

    Parameters
    ----------
    data : str
        Name and split.
    seed : int
        Seed of the gate.
    images_digest : str
        sha256 of pixels and labels, in the order drawn.
    """

    data: str
    seed: int
    images_digest: str


class Outcomes(Record):
    """Outcomes under one threat model, in the order drawn: 1 robust, 0 not. The counts are for readers."""

    threat: ThreatInfo
    attacks: tuple[str, ...] = Field(strict=False)
    robust: Count
    images: tuple[str, ...] = Field(strict=False)

    @classmethod
    def of(cls, threat: ThreatInfo, attacks: Sequence[str], robust: np.ndarray) -> Outcomes:
        """Convert outcomes to lines of zeros and ones.

        Parameters
        ----------
        threat : ThreatInfo
            Norm and eps.
        attacks : Sequence[str]
            Attacks as typed.
        robust : np.ndarray
            bool `[n]`.

        Returns
        -------
        Outcomes
            The outcomes.
        """
        text = "".join("1" if one else "0" for one in robust)
        lines = tuple(text[at : at + WIDTH] for at in range(0, len(text), WIDTH))
        return cls(threat=threat, attacks=tuple(attacks), robust=int(robust.sum()), images=lines)

    def bits(self) -> np.ndarray:
        """Return the outcomes as an array.

        Returns
        -------
        np.ndarray
            bool `[n]`.
        """
        return np.array([one == "1" for one in "".join(self.images)], bool)


class Baseline(Record):
    """Outcomes of a gate on the first `n` images of its order."""

    schema_version: Literal[1] = BASELINE_SCHEMA_VERSION
    model: str
    model_digest: str
    data: str  # like "mnist test"
    n: Count
    images_digest: str  # sha256 of pixels and labels, in the order drawn
    seed: int
    threats: tuple[Outcomes, ...] = Field(strict=False)
    versions: dict[str, str]

    @classmethod
    def load(cls, path: Path) -> Baseline:
        """Read a file written by `to_json`.

        Parameters
        ----------
        path : Path
            Path of the file.

        Returns
        -------
        Baseline
            The baseline.

        Raises
        ------
        UsageError
            When it is absent or damaged: a gate that must compare never runs without a baseline.
        """
        hint = "write one by advbench gate --update-baseline"
        try:
            if not path.is_file():
                path.stat()  # raises the reason
                raise UsageError(f"the baseline {path} is not a file")
            with path.open("rb") as file:
                content = file.read(LARGEST + 1)
        except OSError as error:
            raise UsageError(f"can't read the baseline {path}: {error.strerror}; {hint}") from None
        if len(content) > LARGEST:
            raise UsageError(f"{path} is larger than {LARGEST:,} bytes: that is no baseline")
        try:
            found = cls.model_validate_json(content)
        except ValidationError as error:
            fault = first_fault(error)
            raise UsageError(
                f"{path} is not a baseline of schema version {BASELINE_SCHEMA_VERSION}: {fault}; {hint}"
            ) from None
        for damage in found.damages():
            raise UsageError(f"{path} is damaged: {damage}; {hint}")
        return found

    def under(self, scope: Scope, threats: Sequence[tuple[ThreatInfo, Sequence[str]]]) -> list[np.ndarray]:
        """Return the outcomes under given threat models and attacks.

        Parameters
        ----------
        scope : Scope
            Facts of the new gate.
        threats : Sequence[tuple[ThreatInfo, Sequence[str]]]
            Threat models with the texts of their attacks.

        Returns
        -------
        list[np.ndarray]
            bool `[n]` for each threat model.

        Raises
        ------
        UsageError
            Naming every difference that prevents a comparison.
        """
        differ = [
            f"{what} ({was}, now {is_})"
            for what, was, is_ in (
                ("data", self.data, scope.data),
                ("seed", self.seed, scope.seed),
                ("images", self.images_digest[:12], scope.images_digest[:12]),
            )
            if was != is_
        ]
        then = {(outcomes.threat.norm, outcomes.threat.fraction): outcomes for outcomes in self.threats}
        found = []
        for threat, attacks in threats:
            old = then.get((threat.norm, threat.fraction))
            if old is None:
                there = ", ".join(str(o.threat) for o in self.threats) or "none"
                differ.append(f"threat ({there}, now {threat})")
            elif old.attacks != tuple(attacks):
                differ.append(f"attacks ({', '.join(old.attacks)}, now {', '.join(attacks)})")
            else:
                found.append(old.bits())
        if differ:
            raise UsageError(f"not comparable with the baseline, which has another {'; another '.join(differ)}")
        return found

    def damages(self) -> Iterator[str]:
        """Describe contradictions within the baseline.

        Returns
        -------
        Iterator[str]
            One line each.
        """
        for outcomes in self.threats:
            name, text = str(outcomes.threat), "".join(outcomes.images)
            if set(text) - {"0", "1"}:
                yield f"{name} has outcomes other than 0 and 1"
            if len(text) != self.n:
                yield f"{name} has {len(text):,} outcomes of {self.n:,} images"
            if text.count("1") != outcomes.robust:
                yield f"{name} has {text.count('1'):,} robust images, and says {outcomes.robust:,}"
