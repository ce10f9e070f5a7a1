"""What a report draws, each with the numbers as a table for those who can't see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from advbench.evaluation.result import Result, Row
from advbench.reports.html.svg import Axis, Chart, ticks
from advbench.reports.html.tables import Table
from advbench.reports.sheet import interval, percent

BINS = 24
STYLES = 8  # told apart by colour and by dashes
FARTHEST = 1e9  # that any image can be; more is not a distance
APART = 0.09  # of the axis, that marks need between them

PERCENT = Axis("accuracy, %", 0, 100, ticks(0, 100))


@dataclass(frozen=True)
class Drawing:
    """A chart, what its lines mean, and what it shows as a table."""

    title: str
    text: str
    chart: Chart
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()  # style and meaning

    @property
    def table(self) -> Table:
        """What is drawn, in numbers."""
        return Table(self.title, self.header, self.rows)

    @property
    def svg(self) -> Markup:
        """The chart as a part of a page."""
        return Markup(str(self.chart))  # noqa: S704 - ElementTree has escaped what is in it


def curves(results: Sequence[Result], names: Sequence[str]) -> list[Drawing]:
    """Robust accuracy over eps, a chart for the same images and norm, a line for a model."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Result]]] = {}
    for result, name in zip(results, names, strict=True):
        group = groups.setdefault((result.data.digest, result.threat.norm), {})
        group.setdefault((result.model.digest, name), []).append(result)
    return [
        _curves(f"curve-{at}", {name: lines for (_, name), lines in group.items()})
        for at, group in enumerate(groups.values())
    ]


def _curves(id_: str, lines: dict[str, list[Result]]) -> Drawing:
    every = [result for results in lines.values() for result in results]
    first, largest = every[0], max(result.threat.eps_value for result in every)
    norm, data = first.threat.norm, first.data
    title = f"Accuracy over eps: {norm}, {data.n:,} {data.name} {data.split} images"
    text = (
        "Worst case over the attacks of each evaluation, with its 95% Wilson interval. Dotted: no more than this can "
        "stand below the eps evaluated, by the distances of the adversarial images found."
    )
    marks = {0.0: "0"} | {result.threat.eps_value: result.threat.eps for result in every}
    chart = Chart(id_, title, text, Axis(f"eps ({norm})", 0, largest, _marks(marks, largest)), PERCENT)
    if data.classes:
        chart.level(100 / len(data.classes), "chance")
    rows = []
    for at, (name, results) in enumerate(lines.items()):
        style = _style(at)
        ordered = sorted(results, key=lambda result: result.threat.eps_value)
        points = [(0.0, "0", ordered[0].clean), *((r.threat.eps_value, r.threat.eps, r.robust) for r in ordered)]
        chart.steps(_bound(ordered), style)
        chart.band([(eps, 100 * rate.low, 100 * rate.high) for eps, _, rate in points], style)
        chart.line([(eps, 100 * rate.accuracy) for eps, _, rate in points], style)
        rows += [(name, eps, percent(rate), interval(rate)) for _, eps, rate in points]
    legend = tuple((_style(at), name) for at, name in enumerate(lines))
    return Drawing(title, text, chart, ("model", "eps", "accuracy", "95% interval"), tuple(rows), legend)


def _bound(results: Sequence[Result]) -> list[tuple[float, float]]:
    """Steps of the share of images that no adversarial image found so near breaks, in percent."""
    nearest: dict[int, float] = {}
    for row in (row for result in results for row in result.rows):
        if (distance := _distance(row)) is not None:
            nearest[row.index] = min(distance, nearest.get(row.index, distance))
    n, largest = max(results[0].data.n, 1), results[-1].threat.eps_value
    fallen = sorted(min(distance, largest) for distance in nearest.values())
    start = sum(distance <= 0 for distance in fallen)
    steps = [(distance, 100 * (n - at) / n) for at, distance in enumerate(fallen, 1) if distance > 0]
    return [(0.0, 100 * (n - start) / n), *steps, (largest, 100 * (n - len(fallen)) / n)]


def distances(result: Result, id_: str) -> Drawing | None:
    """How far the adversarial images are from the clean ones; None where no attack broke any."""
    found = [distance for row in result.rows if (distance := _distance(row)) is not None and row.broken_by != "clean"]
    if not found:
        return None
    threat, eps = result.threat, result.threat.eps_value
    top = max(max(found), eps if threat.norm != "any" else 0.0) * 1.02
    width = top / BINS or 1.0
    counts = [0] * BINS
    for distance in found:
        counts[min(int(distance / width), BINS - 1)] += 1
    title = f"Distances of the {len(found):,} images that an attack broke ({threat.norm})"
    text = (
        f"Of {result.robust.n:,} images {result.robust.correct:,} withstood everything and "
        f"{result.clean.n - result.clean.correct:,} were wrong before any attack; these are not shown."
    )
    high = max(counts)
    chart = Chart(
        id_,
        title,
        text,
        Axis(f"distance ({threat.norm})", 0, top, ticks(0, top)),
        Axis("images", 0, high, ticks(0, high, min(high, 5))),
    )
    rows = []
    for at, count in enumerate(counts):
        if count:
            within = f"{at * width:.4g} to {(at + 1) * width:.4g}"
            chart.bar(at * width, (at + 1) * width, count, f"{within}: {count:,} images")
            rows.append((within, f"{count:,}"))
    if threat.norm != "any":
        chart.upright(eps, f"eps {threat.eps}")
    return Drawing(title, text, chart, ("distance", "images"), tuple(rows))


def convergence(result: Result, id_: str) -> Drawing | None:
    """What stood after how many passes, a line for an attack; None where no attack tells."""
    told = [(a.spec, a.tried, a.convergence) for a in result.attacks if a.convergence and a.tried]
    if not told:
        return None
    most = max(max(found.passes, default=1) for _, _, found in told)
    title = "Convergence: what stood after how many passes"
    text = (
        "Of the images that each attack was given, the share that stood when each had cost at most so many forward "
        "passes. A line that still falls at its end says that a longer attack would break more."
    )
    powers = [2**k for k in range(0, max(most, 2).bit_length() + 1)]
    shown = powers[:: -(-len(powers) // 7)]
    axis = Axis("forward passes an image", 1, max(most, 2), tuple((p, f"{p:,}") for p in shown if p <= most), log=True)
    chart = Chart(id_, title, text, axis, Axis("of those given, %", 0, 100, ticks(0, 100)))
    rows = []
    for at, (spec, tried, found) in enumerate(told):
        stood = list(zip(found.passes, found.standing, strict=False))
        chart.line([(passes, 100 * min(left / tried, 1)) for passes, left in stood if passes], _style(at))
        rows += [(spec, f"{passes:,} passes", f"{left:,} of {tried:,}") for passes, left in stood]
        if len(found.after_runs) > 1:
            rows += [(spec, f"run {run}", f"{left:,} of {tried:,}") for run, left in enumerate(found.after_runs, 1)]
    legend = tuple((_style(at), spec) for at, (spec, _, _) in enumerate(told))
    return Drawing(title, text, chart, ("attack", "after", "stood"), tuple(rows), legend)


def _distance(row: Row) -> float | None:
    return row.distance if row.distance is not None and 0 <= row.distance < FARTHEST else None


def _marks(marks: dict[float, str], largest: float) -> tuple[tuple[float, str], ...]:
    """The eps as typed, where there is room for them."""
    values = sorted(marks)
    near = any(b - a < APART * largest for a, b in zip(values, values[1:], strict=False))
    return ticks(0, largest) if near else tuple((value, marks[value]) for value in values)


def _style(at: int) -> str:
    return f"s{at % STYLES}"
