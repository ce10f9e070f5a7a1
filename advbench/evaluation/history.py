"""Evaluations over time: the same model, data and threat, from commit to commit."""

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


class Point(Record):
    """One evaluation. `change` is against the point before, where both looked at the same images."""

    started: str  # UTC, ISO 8601
    commit: str | None
    clean: Rate
    robust: Rate
    change: Difference | None
    state: State
    notes: tuple[str, ...] = Field(strict=False)
    path: str


class Told(NamedTuple):
    """A result, the file that told of it, and what else that file says of it."""

    path: Path
    result: Result
    remark: str = ""


class Series(Record):
    """One model on one data set under one threat, in order of time."""

    model: str
    data: str
    norm: str
    eps: str
    points: tuple[Point, ...] = Field(strict=False)

    @property
    def title(self) -> str:
        """What the series is of."""
        return f"{self.model} on {self.data}, {self.norm} eps {self.eps}"


class History(Record):
    """Every series found."""

    schema_version: Literal[1] = HISTORY_SCHEMA_VERSION
    series: tuple[Series, ...] = Field(strict=False)

    @classmethod
    def of(cls, found: Sequence[Told]) -> History:
        """Put results into series; what was stored twice, as a result and within a gate, counts once."""
        groups: dict[tuple[str, ...], list[Told]] = {}
        seen: set[tuple[object, ...]] = set()
        for told in sorted(found, key=lambda told: told.result.provenance.started):
            result, data, threat = told.result, told.result.data, told.result.threat
            series = (result.model.name, f"{data.name} {data.split}", threat.norm, threat.eps_exact)
            found_then = (result.provenance.started, data.digest, result.adversarial_digest, result.robust.correct)
            if (*series, *found_then) not in seen:
                seen.add((*series, *found_then))
                groups.setdefault(series, []).append(told)
        return cls(series=tuple(_series(group) for group in groups.values()))


def _series(group: Sequence[Told]) -> Series:
    first = group[0].result
    before = [None, *(told.result for told in group)]
    points = tuple(_point(told, was) for told, was in zip(group, before, strict=False))
    data = f"{first.data.name} {first.data.split}"
    return Series(model=first.model.name, data=data, norm=first.threat.norm, eps=first.threat.eps, points=points)


def _point(told: Told, before: Result | None) -> Point:
    result, change = told.result, None
    notes = [told.remark] if told.remark else []
    if before:
        try:
            comparison = Comparison.of(before, result)
        except UsageError:
            notes.append("other images")
        else:
            change = comparison.robust
            was, now = comparison.before, comparison.after
            notes += [f"other {what}" for what in ("attacks", "seed") if getattr(was, what) != getattr(now, what)]
    return Point(
        started=result.provenance.started,
        commit=result.provenance.commit,
        clean=result.clean,
        robust=result.robust,
        change=change,
        state=result.state,
        notes=tuple(notes),
        path=str(told.path),
    )
