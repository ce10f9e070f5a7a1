"""Results by class: accuracies, and the confusion matrix under attack."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from advbench.evaluation.result import Rate, Result, Row
from advbench.reports.pictures import class_name
from advbench.reports.sheet import interval, percent

MOST = 20  # most classes shown in a matrix
SHADES = 10


@dataclass(frozen=True)
class Matrix:
    """Confusion matrix: a row per true class, a column per predicted class; a cell is text and shade, 0 to 10."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]


def by_class(result: Result) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return header and rows of a table with each class's images, accuracies and most frequent misclassification."""
    header = (
        *("class", "images", "clean accuracy", "95% interval", "robust accuracy", "95% interval"),
        "most often misclassified as",
    )
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
    """Build the confusion matrix under attack; None if there are too many classes to show."""
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
