"""Results by class: what is right, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from advbench.evaluation.result import Rate, Result, Row
from advbench.reports.sheet import interval, percent

MOST = 20  # classes that a matrix can show
SHADES = 10


@dataclass(frozen=True)
class Matrix:
    """True class down, predicted class under attack across; a cell is its text and its shade, 0 to 10."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]


def class_name(result: Result, label: int | None) -> str:
    """What a class is called; a prediction that is not finite has no class."""
    if label is None:
        return "not finite"
    classes = result.data.classes
    return classes[label] if label < len(classes) else f"class {label}"


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
    predictions: list[int | None] = sorted({p for _, p in counts if p is not None} | set(labels))
    if len(predictions) > MOST:
        return None
    if any(prediction is None for _, prediction in counts):
        predictions.append(None)

    def line(label: int) -> tuple[tuple[str, int], ...]:
        total = sum(counts[label, p] for p in predictions)
        return tuple((str(c) if c else "", round(SHADES * c / total)) for c in (counts[label, p] for p in predictions))

    return Matrix(
        tuple(class_name(result, p) for p in predictions),
        tuple((class_name(result, label), line(label)) for label in labels),
    )


def _robust(rows: list[Row]) -> int:
    return sum(row.robust for row in rows)
