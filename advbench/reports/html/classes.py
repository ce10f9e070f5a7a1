"""Results by class: what is right, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from advbench.evaluation.result import Rate, Result, Row
from advbench.reports.pictures import class_name
from advbench.reports.sheet import interval, percent

MOST = 20  # classes that a matrix can show
SHADES = 10


@dataclass(frozen=True)
class Matrix:
    """True class down, predicted class under attack across; a cell is its text and its shade, 0 to 10."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]


def by_class(result: Result) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows: how many images each class has, accuracy clean and under attack, and what it is taken for."""
    header = ("class", "images", "clean", "95% interval", "robust", "95% interval", "most often taken for")
    rows = []
    for label in sorted({row.label for row in result.rows}):
        of = [row for row in result.rows if row.label == label]
        clean, robust = Rate.of(sum(r.broken_by != "clean" for r in of), len(of)), Rate.of(_robust(of), len(of))
        wrong = Counter(row.prediction for row in of if not row.robust).most_common(1)
        taken = f"{class_name(result, wrong[0][0])} ({wrong[0][1]:,})" if wrong else ""
        accuracies = (percent(clean), interval(clean), percent(robust), interval(robust))
        rows.append((class_name(result, label), f"{len(of):,}", *accuracies, taken))
    return header, tuple(rows)


def matrix(result: Result) -> Matrix | None:
    """Predictions under attack, counted; None where there are more classes than a table can show."""
    counts = Counter((row.label, row.prediction) for row in result.rows)
    labels = sorted({label for label, _ in counts})
    finite = sorted({p for _, p in counts if p is not None} | set(labels))
    if len(finite) > MOST:
        return None
    predictions = [*finite, *([None] if any(p is None for _, p in counts) else [])]

    def line(label: int) -> tuple[tuple[str, int], ...]:
        total = sum(counts[label, p] for p in predictions)
        return tuple((str(c) if c else "", round(SHADES * c / total)) for c in (counts[label, p] for p in predictions))

    return Matrix(
        tuple(class_name(result, p) for p in predictions),
        tuple((class_name(result, label), line(label)) for label in labels),
    )


def _robust(rows: list[Row]) -> int:
    return sum(row.robust for row in rows)
