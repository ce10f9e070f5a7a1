"""Results and gates with their locations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advbench.evaluation.result import Result
from advbench.gating.verdict import Gate


@dataclass(frozen=True)
class StoredRun:
    """A result and its location.

    Attributes
    ----------
    result : Result
        The result.
    path : Path
        The path given, or one below it.
    folder : Path or None
        The run directory with the adversarial images, if there is one.
    """

    result: Result
    path: Path
    folder: Path | None

    @property
    def title(self) -> str:
        """Title of the run: model and threat."""
        return f"{self.result.model.name}, {self.result.threat.title}"


@dataclass(frozen=True)
class Sources:
    """Results and gates of all paths, in order."""

    runs: tuple[StoredRun, ...]
    gates: tuple[tuple[Path, Gate], ...] = ()
