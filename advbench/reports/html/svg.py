"""Small charts as inline SVG. ElementTree escapes all text, so that no name can become markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from advbench.reports.table import printable

WIDTH, HEIGHT = 440, 280  # text of height 12 is legible on a phone, where a unit is 0.8 pixels
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 20, 46

Point = tuple[float, float]


@dataclass(frozen=True)
class PlotAxis:
    """An axis of a chart.

    Attributes
    ----------
    label : str
        Quantity and unit.
    low, high : float
        Ends of the axis.
    ticks : tuple of tuple of float and str
        Marks: value and text.
    log : bool
        Logarithmic, base 2; requires `low` above 0.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value: 0 at `low`, 1 at `high`."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log2(low), math.log2(high), math.log2(max(value, low))
        return (value - low) / (high - low) if high > low else 0.5


class Chart:
    """A frame with axes to draw in; positions are in the units of the axes.

    Parameters
    ----------
    name : str
        Unique on the page; letters, digits and hyphens.
    title, text : str
        Accessible title and description.
    x, y : PlotAxis
        Horizontal and vertical axis.
    """

    def __init__(self, name: str, title: str, text: str, x: PlotAxis, y: PlotAxis):
        self.x, self.y = x, y
        labelled = {"aria-labelledby": f"{name}-title {name}-desc"}
        self.svg = Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "class": "chart", **labelled})
        self._add("title", text=title, id=f"{name}-title")
        self._add("desc", text=text, id=f"{name}-desc")
        self._axes()

    def line(self, points: Sequence[Point], style: str) -> None:
        """Draw straight lines through points, with a mark at each."""
        if len(points) > 1:
            self._add("polyline", f"line {style}", points=self._path(points))
        for point in points:
            x, y = self._at(*point)
            self._add("circle", f"dot {style}", cx=x, cy=y, r=3.2)

    def steps(self, points: Sequence[Point], style: str) -> None:
        """Draw a step function that keeps each value until the next point."""
        corners = [points[0]]
        for x, y in points[1:]:
            corners += [(x, corners[-1][1]), (x, y)]
        self._add("polyline", f"line bound {style}", points=self._path(corners))

    def band(self, points: Sequence[tuple[float, float, float]], style: str) -> None:
        """Draw a band between the bounds of each `(x, low, high)`; for one point, an error bar."""
        around = [(x, low) for x, low, _ in points] + [(x, high) for x, _, high in reversed(points)]
        shape, kind = ("polygon", "band") if len(points) > 1 else ("polyline", "line")
        self._add(shape, f"{kind} {style}", points=self._path(around))

    def bar(self, left: float, right: float, height: float, text: str) -> None:
        """Draw a bar from the x axis up, with `text` as its tooltip."""
        (x0, top), (x1, bottom) = self._at(left, height), self._at(right, self.y.low)
        bar = self._add("rect", "bar", x=x0, y=top, width=max(x1 - x0 - 1, 1), height=bottom - top)
        SubElement(bar, "title").text = printable(text)

    def upright(self, x: float, text: str) -> None:
        """Draw a vertical line at `x`, labelled `text`."""
        (left, top), (_, bottom) = self._at(x, self.y.high), self._at(x, self.y.low)
        self._add("line", "rule", x1=left, x2=left, y1=top, y2=bottom)
        self._text(text, left, TOP - 6, "end")

    def level(self, y: float, text: str) -> None:
        """Draw a horizontal line at `y`, labelled `text`."""
        (left, height), (right, _) = self._at(self.x.low, y), self._at(self.x.high, y)
        self._add("line", "rule", x1=left, x2=right, y1=height, y2=height)
        self._text(text, right, height - 4, "end")

    def __str__(self) -> str:
        return tostring(self.svg, encoding="unicode")

    def _axes(self) -> None:
        left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
        for value, text in self.y.ticks:
            _, y = self._at(self.x.low, value)
            self._add("line", "grid", x1=left, x2=right, y1=y, y2=y)
            self._text(text, left - 6, y + 4, "end")
        for value, text in self.x.ticks:
            x, _ = self._at(value, self.y.low)
            self._add("line", "axis", x1=x, x2=x, y1=bottom, y2=bottom + 4)
            self._text(text, x, bottom + 17, "middle")
        self._add("line", "axis", x1=left, x2=right, y1=bottom, y2=bottom)
        self._text(self.x.label, (left + right) / 2, HEIGHT - 8, "middle")
        middle = _number((TOP + bottom) / 2)
        self._add("text", text=self.y.label, x="12", y=middle, anchor="middle", transform=f"rotate(-90 12 {middle})")

    def _text(self, text: str, x: float, y: float, anchor: str) -> None:
        self._add("text", text=text, x=x, y=y, anchor=anchor)

    def _add(self, tag: str, style: str = "", text: str = "", anchor: str = "", **attributes: str | float) -> Element:
        named = {name: value if isinstance(value, str) else _number(value) for name, value in attributes.items()}
        named |= {"class": style} if style else {}
        named |= {"text-anchor": anchor} if anchor else {}
        element = SubElement(self.svg, tag, named)
        element.text = printable(text)
        return element

    def _at(self, x: float, y: float) -> Point:
        across, up = self.x.share(x), self.y.share(y)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def _path(self, points: Sequence[Point]) -> str:
        return " ".join(f"{_number(x)},{_number(y)}" for x, y in (self._at(*point) for point in points))


def ticks(low: float, high: float, most: int = 5) -> tuple[tuple[float, str], ...]:
    """Return round numbers from `low` to `high` with their text, at steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return ((low, f"{low:g}"),)
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple((k * step, f"{k * step:.6g}") for k in range(first, last + 1))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
