"""Evaluations over time: the same model, data and threat, from commit to commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from advbench.errors import UsageError
from advbench.evaluation.comparison import Comparison
from advbench.evaluation.paired import Difference
from advbench.evaluation.result import Rate, Record, Result, State

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
    def of(cls, found: Sequence[tuple[Path, Result]]) -> History:
        """Put results into series; what was stored twice, as a result and within a gate, counts once."""
        groups: dict[tuple[str, ...], list[tuple[Path, Result]]] = {}
        seen: set[tuple[object, ...]] = set()
        for path, result in sorted(found, key=lambda each: each[1].provenance.started):
            data, threat = result.data, result.threat
            series = (result.model.name, f"{data.name} {data.split}", threat.norm, threat.eps_exact)
            identity = (
                *series,
                result.provenance.started,
                data.digest,
                result.adversarial_digest,
                result.robust.correct,
            )
            if identity not in seen:
                seen.add(identity)
                groups.setdefault(series, []).append((path, result))
        return cls(series=tuple(_series(group) for group in groups.values()))

    def to_json(self) -> str:
        """The whole object as JSON, ended by a newline."""
        return self.model_dump_json(indent=1) + "\n"


def _series(group: Sequence[tuple[Path, Result]]) -> Series:
    first = group[0][1]
    before = [None, *(result for _, result in group)]
    points = tuple(_point(path, result, was) for (path, result), was in zip(group, before, strict=False))
    data = f"{first.data.name} {first.data.split}"
    return Series(model=first.model.name, data=data, norm=first.threat.norm, eps=first.threat.eps, points=points)


def _point(path: Path, result: Result, before: Result | None) -> Point:
    change, notes = None, []
    if before:
        try:
            comparison = Comparison.of(before, result)
        except UsageError:
            notes = ["other images"]
        else:
            change = comparison.robust
            was, now = comparison.before, comparison.after
            notes = [f"other {what}" for what in ("attacks", "seed") if getattr(was, what) != getattr(now, what)]
    return Point(
        started=result.provenance.started,
        commit=result.provenance.commit,
        clean=result.clean,
        robust=result.robust,
        change=change,
        state=result.state,
        notes=tuple(notes),
        path=str(path),
    )
