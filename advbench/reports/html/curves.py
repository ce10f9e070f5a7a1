"""Charts of robust accuracy over eps for any number of models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from advbench.evaluation.result import Result
from advbench.reports.html.charts import (
    PERCENT,
    Drawing,
    distance_of,
    style,
)
from advbench.reports.html.svg import Chart, PlotAxis, ticks
from advbench.reports.sheet import interval, percent

APART = 0.09  # smallest distance between axis labels, as a share of the axis


def curves(results: Sequence[Result], names: Sequence[str]) -> list[Drawing]:
    """Draw robust accuracy over eps: a chart per set of images and norm, a line per model and attacks.

    Parameters
    ----------
    results : sequence of Result
        Any results.
    names : sequence of str
        Name of each result's model.

    Returns
    -------
    list of Drawing
        The charts.
    """
    groups: dict[tuple[str, str], dict[Line, list[Result]]] = {}
    for result, name in zip(results, names, strict=True):
        group = groups.setdefault((result.data.digest, result.threat.norm), {})
        suite = ", ".join(report.spec for report in result.attacks)
        group.setdefault(Line(name, suite, result.model.digest), []).append(result)
    return [_curves(f"curve-{at}", group) for at, group in enumerate(groups.values())]


class Line(NamedTuple):
    """Model and attacks that the results of one line share."""

    model: str
    suite: str
    digest: str


def _curves(id_: str, lines: dict[Line, list[Result]]) -> Drawing:
    every = [result for results in lines.values() for result in results]
    first, largest = every[0], max(result.threat.eps_value for result in every)
    norm, data = first.threat.norm, first.data
    title = f"Accuracy over eps: {norm}, {data.n:,} {data.name} {data.split} images"
    text = (
        "Robust accuracy under the attacks of each evaluation, with its 95% Wilson interval. Dotted: an upper bound "
        "below the eps evaluated, by the distances of the adversarial images found."
    )
    marks = {0.0: "0"} | {result.threat.eps_value: result.threat.eps for result in every}
    chart = Chart(id_, title, text, PlotAxis(f"eps ({norm})", 0, largest, _marks(marks, largest)), PERCENT)
    if data.classes:
        chart.level(100 / len(data.classes), "chance")
    rows, legend = [], []
    for at, (line, results) in enumerate(lines.items()):
        alone = sum(other.model == line.model for other in lines) == 1
        look, name = style(at), line.model if alone else f"{line.model}: {line.suite}"
        legend.append((look, name))
        ordered = _by_eps(results)
        points = [(0.0, "0", ordered[0].clean), *((r.threat.eps_value, r.threat.eps, r.robust) for r in ordered)]
        chart.steps(_bound(ordered), look)
        # With one eps only, a line from the clean accuracy to it would suggest values that were not measured.
        for part in [points] if len(points) > 2 else [[point] for point in points]:
            chart.band([(eps, 100 * rate.low, 100 * rate.high) for eps, _, rate in part], look)
            chart.line([(eps, 100 * rate.accuracy) for eps, _, rate in part], look)
        rows += [(name, eps, percent(rate), interval(rate)) for _, eps, rate in points]
    return Drawing(title, text, chart, ("model", "eps", "accuracy", "95% interval"), tuple(rows), tuple(legend))


def _by_eps(results: Sequence[Result]) -> list[Result]:
    """Return one result for each eps, increasing; the one with the lowest robust accuracy if there are several."""
    lowest: dict[float, Result] = {}
    for result in sorted(results, key=lambda result: -result.robust.accuracy):
        lowest[result.threat.eps_value] = result
    return [lowest[eps] for eps in sorted(lowest)]


def _bound(results: Sequence[Result]) -> list[tuple[float, float]]:
    """Return a step function over eps: percent of images without an adversarial image found within that distance."""
    nearest: dict[int, float] = {}
    for row in (row for result in results for row in result.rows):
        if (distance := distance_of(row)) is not None:
            nearest[row.index] = min(distance, nearest.get(row.index, distance))
    n, largest = max(results[0].data.n, 1), results[-1].threat.eps_value
    fallen = sorted(min(distance, largest) for distance in nearest.values())
    start = sum(distance <= 0 for distance in fallen)
    steps = [(distance, 100 * (n - at) / n) for at, distance in enumerate(fallen, 1) if distance > 0]
    return [(0.0, 100 * (n - start) / n), *steps, (largest, 100 * (n - len(fallen)) / n)]


def _marks(marks: dict[float, str], largest: float) -> tuple[tuple[float, str], ...]:
    """Return axis labels: each eps as typed if there is room, else round numbers."""
    values = sorted(marks)
    near = any(b - a < APART * largest for a, b in pairwise(values))
    return ticks(0, largest) if near else tuple((value, marks[value]) for value in values)
