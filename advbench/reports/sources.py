"""Results and gates, and where they were found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advbench.evaluation.result import Result
from advbench.gating.verdict import Gate


@dataclass(frozen=True)
class Run:
    """A result, and where it was found."""

    result: Result
    path: Path  # as given, or below what was given
    folder: Path | None  # the run directory, if there is one: where the adversarial images are

    @property
    def title(self) -> str:
        """Which model under which threat."""
        return f"{self.result.model.name}, {self.result.threat.title}"


@dataclass(frozen=True)
class Found:
    """All that was named, in order."""

    runs: tuple[Run, ...]
    gates: tuple[tuple[Path, Gate], ...] = ()
