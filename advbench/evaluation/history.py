"""History of evaluations: the same model, data and threat, from commit to commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field

from advbench.core.errors import UsageError
from advbench.core.flag import Record
from advbench.evaluation.comparison import Comparison
from advbench.evaluation.paired import Difference
from advbench.evaluation.result import Rate, Result, State

HISTORY_SCHEMA_VERSION: Final = 1


class HistoryPoint(Record):
    """One evaluation of a series.

    Attributes
    ----------
    started : str
        Time of the start: UTC, ISO 8601.
    commit : str or None
        Commit checked out where the command ran, in hex.
    clean, robust : Rate
        Clean and robust accuracy.
    change : Difference or None
        Change of robust accuracy against the previous point; None if its images differ.
    state : {"complete", "invalid", "incomplete"}
        State of the result.
    notes : tuple of str
        Other differences from the previous point.
    path : str
        File that holds the result.
    """

    started: str
    commit: str | None
    clean: Rate
    robust: Rate
    change: Difference | None
    state: State
    notes: tuple[str, ...] = Field(strict=False)
    path: str


class HistoryEntry(NamedTuple):
    """A result, the file that holds it, and a remark on it, such as the verdict of its gate."""

    path: Path
    result: Result
    remark: str = ""


class Series(Record):
    """Evaluations of one model on one data set under one threat, in order of time.

    Attributes
    ----------
    model, data : str
        Name of the model; data set and split.
    norm, eps : str
        The threat, eps as typed.
    points : tuple of HistoryPoint
        One per evaluation.
    """

    model: str
    data: str
    norm: str
    eps: str
    points: tuple[HistoryPoint, ...] = Field(strict=False)

    @property
    def title(self) -> str:
        """Title of the series: model, data and threat."""
        return f"{self.model} on {self.data}, {self.norm} eps {self.eps}"


class History(Record):
    """All series found below a folder.

    Attributes
    ----------
    series : tuple of Series
        In the order of their first evaluations.
    """

    schema_version: Literal[1] = HISTORY_SCHEMA_VERSION
    series: tuple[Series, ...] = Field(strict=False)

    @classmethod
    def of(cls, found: Sequence[HistoryEntry]) -> History:
        """Group results into series; a result stored twice, alone and within a gate, counts once.

        Parameters
        ----------
        found : sequence of HistoryEntry
            Results in any order.

        Returns
        -------
        History
            All series.
        """
        groups: dict[tuple[str, ...], list[HistoryEntry]] = {}
        seen: set[tuple[object, ...]] = set()
        for told in sorted(found, key=lambda told: told.result.provenance.started):
            result, data, threat = told.result, told.result.data, told.result.threat
            series = (result.model.name, f"{data.name} {data.split}", threat.norm, threat.eps_exact)
            found_then = (result.provenance.started, data.digest, result.adversarial_digest, result.robust.correct)
            if (*series, *found_then) not in seen:
                seen.add((*series, *found_then))
                groups.setdefault(series, []).append(told)
        return cls(series=tuple(_series(group) for group in groups.values()))


def _series(group: Sequence[HistoryEntry]) -> Series:
    first = group[0].result
    before = [None, *(told.result for told in group)]
    points = tuple(_point(told, was) for told, was in zip(group, before, strict=False))
    data = f"{first.data.name} {first.data.split}"
    return Series(model=first.model.name, data=data, norm=first.threat.norm, eps=first.threat.eps, points=points)


def _point(told: HistoryEntry, before: Result | None) -> HistoryPoint:
    result, change = told.result, None
    notes = [told.remark] if told.remark else []
    if before:
        try:
            comparison = Comparison.of(before, result)
        except UsageError:
            notes.append("images changed")
        else:
            change = comparison.robust
            was, now = comparison.before, comparison.after
            notes += [f"{what} changed" for what in ("attacks", "seed") if getattr(was, what) != getattr(now, what)]
    return HistoryPoint(
        started=result.provenance.started,
        commit=result.provenance.commit,
        clean=result.clean,
        robust=result.robust,
        change=change,
        state=result.state,
        notes=tuple(notes),
        path=str(told.path),
    )
