"""Charts of one run, each with its numbers as an accessible table."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from advbench.evaluation.result import Result, Row
from advbench.reports.html.svg import Chart, PlotAxis, ticks
from advbench.reports.html.tables import Table

BINS = 24
STYLES = 8  # distinct by colour and by dashes
FLOORS = (0, 50, 80, 90)  # percent: possible lower ends of an axis
FARTHEST = 1e9  # larger values are not distances

PERCENT = PlotAxis("accuracy, %", 0, 100, ticks(0, 100))


@dataclass(frozen=True)
class Drawing:
    """A chart with its legend and its numbers as a table.

    Attributes
    ----------
    title, text : str
        Heading, and a description.
    chart : Chart
        The picture.
    header, rows : tuple of str, tuple of tuple of str
        The numbers shown.
    legend : tuple of tuple of str
        Style and meaning of each line.
    """

    title: str
    text: str
    chart: Chart
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()

    @property
    def table(self) -> Table:
        """Table of the numbers shown."""
        return Table(self.title, self.header, self.rows)

    @property
    def svg(self) -> Markup:
        """SVG of the chart, to be placed in a page."""
        return Markup(str(self.chart))  # noqa: S704 - ElementTree has escaped its text


def distances(result: Result, id_: str) -> Drawing | None:
    """Draw a histogram of the distances between clean and adversarial images; None if no attack broke an image."""
    found = [distance for row in result.rows if (distance := distance_of(row)) is not None and row.broken_by != "clean"]
    if not found:
        return None
    threat, eps = result.threat, result.threat.eps_value
    top = max(*found, 0.0 if threat.norm == "any" else eps) * 1.02
    width = top / BINS or 1.0
    counts = [0] * BINS
    for distance in found:
        counts[min(int(distance / width), BINS - 1)] += 1
    title = f"Distances of the {len(found):,} images that an attack broke ({threat.norm})"
    text = (
        f"Not shown: of {result.robust.n:,} images, {result.robust.correct:,} are robust and "
        f"{result.clean.n - result.clean.correct:,} are misclassified when clean."
    )
    high = max(counts)
    chart = Chart(
        id_,
        title,
        text,
        PlotAxis(f"distance ({threat.norm})", 0, top, ticks(0, top)),
        PlotAxis("images", 0, high, ticks(0, high, min(high, 5))),
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
    """Draw the share of images not broken over forward passes, a line per attack; None if no attack records it."""
    told = [
        (a.spec, a.tried, a.convergence) for a in result.attacks if a.convergence and a.convergence.standing and a.tried
    ]
    if not told:
        return None
    most = max(max(found.passes, default=1) for _, _, found in told)
    title = "Convergence: images not broken after a number of forward passes"
    text = (
        "Share of the images given to each attack that it had not broken after that many forward passes per image. "
        "If a line still falls at its end, a longer attack would break more images."
    )
    powers = [2**k for k in range(0, max(most, 2).bit_length() + 1)]
    shown = powers[:: -(-len(powers) // 7)]
    axis = PlotAxis(
        "forward passes per image", 1, max(most, 2), tuple((p, f"{p:,}") for p in shown if p <= most), log=True
    )
    least = min(100 * left / tried for _, tried, found in told for left in found.standing)
    low = max((floor for floor in FLOORS if floor <= least), default=0)
    chart = Chart(id_, title, text, axis, PlotAxis("images not broken, %", low, 100, ticks(low, 100)))
    rows = []
    for at, (spec, tried, found) in enumerate(told):
        stood = list(zip(found.passes, found.standing, strict=False))
        chart.line([(passes, 100 * min(left / tried, 1)) for passes, left in stood if passes], style(at))
        rows += [(spec, f"{passes:,} passes", f"{left:,} of {tried:,}") for passes, left in stood]
        if len(found.after_runs) > 1:
            rows += [(spec, f"trial {run}", f"{left:,} of {tried:,}") for run, left in enumerate(found.after_runs, 1)]
    legend = tuple((style(at), spec) for at, (spec, _, _) in enumerate(told))
    return Drawing(title, text, chart, ("attack", "after", "not broken"), tuple(rows), legend)


def distance_of(row: Row) -> float | None:
    """Return the distance of a broken image's adversarial image; None for a robust image or an invalid distance."""
    return row.distance if row.distance is not None and 0 <= row.distance < FARTHEST else None


def style(at: int) -> str:
    """Return the CSS class of a line by its number."""
    return f"s{at % STYLES}"
