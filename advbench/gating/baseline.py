"""What a gate found before, image by image, small enough to review: the next run is compared with it in pairs."""

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
    """What two gates must share to be compared, besides threats and attacks."""

    data: str  # name and split
    seed: int
    images_digest: str  # sha256 of pixels and labels, in the order drawn


class Outcomes(Record):
    """Of one threat, an image each in the order drawn: 1 robust, 0 not. The counts are there to be read."""

    threat: ThreatInfo
    attacks: tuple[str, ...] = Field(strict=False)
    robust: Count
    images: tuple[str, ...] = Field(strict=False)

    @classmethod
    def of(cls, threat: ThreatInfo, attacks: Sequence[str], robust: np.ndarray) -> Outcomes:
        """Write bool `[n]` as lines of zeros and ones."""
        text = "".join("1" if one else "0" for one in robust)
        lines = tuple(text[at : at + WIDTH] for at in range(0, len(text), WIDTH))
        return cls(threat=threat, attacks=tuple(attacks), robust=int(robust.sum()), images=lines)

    def bits(self) -> np.ndarray:
        """Bool `[n]`: as it was given."""
        return np.array([one == "1" for one in "".join(self.images)], bool)


class Baseline(Record):
    """A gate's outcomes on the first `n` images of its order."""

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
        """Read what `to_json` wrote.

        Raises
        ------
        UsageError
            When there is none, or it is not whole: a gate that is to compare never goes on without.
        """
        hint = "write one by advbench gate --update-baseline"
        try:
            if not path.is_file():
                path.stat()  # says why
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
        """Its outcomes, bool `[n]`, under each of these threats and their attacks.

        Raises
        ------
        UsageError
            Naming everything in which the two can't be compared.
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
        """What does not agree with itself, in words."""
        for outcomes in self.threats:
            name, text = str(outcomes.threat), "".join(outcomes.images)
            if set(text) - {"0", "1"}:
                yield f"{name} has outcomes other than 0 and 1"
            if len(text) != self.n:
                yield f"{name} has {len(text):,} outcomes of {self.n:,} images"
            if text.count("1") != outcomes.robust:
                yield f"{name} has {text.count('1'):,} robust images, and says {outcomes.robust:,}"
