"""Figure of robust accuracy over commits."""

from __future__ import annotations

from advbench.evaluation.history import History, HistoryPoint
from advbench.reports.figure import INK, blank, saved

COLOURS = ("#0072b2", "#d55e00", "#008a63", "#a0529d", "#8a6d00", "#56b4e9", "#555555", "#b0304f")
MARKS = "os^DvPX*"
NAMED = 24  # most points labelled on the x axis


def draw_history(history: History, suffix: str) -> bytes:
    """Draw robust accuracy with its interval over time, a line per series; hollow marks are invalid or incomplete.

    Parameters
    ----------
    history : History
        The series.
    suffix : str
        Format of the file, like `.png` or `svg`.

    Returns
    -------
    bytes
        The file.
    """
    points = sorted((point for series in history.series for point in series.points), key=lambda point: point.started)
    names = list(dict.fromkeys(map(_name, points)))
    figure = blank(max(6.0, min(14.0, 2 + 0.45 * len(names))), 4.4)
    axes = figure.subplots()
    for at, series in enumerate(history.series):
        colour, mark = COLOURS[at % len(COLOURS)], MARKS[at % len(MARKS)]
        x = [names.index(_name(point)) for point in series.points]
        y = [100 * point.robust.accuracy for point in series.points]
        reach = [
            [100 * max(point.robust.accuracy - point.robust.low, 0) for point in series.points],
            [100 * max(point.robust.high - point.robust.accuracy, 0) for point in series.points],
        ]
        axes.errorbar(x, y, reach, color=colour, linewidth=1.4, elinewidth=0.8, capsize=2.5, label="_")
        for solid in (True, False):
            shown = [i for i, point in enumerate(series.points) if (point.state == "complete") is solid]
            axes.plot(
                [x[i] for i in shown],
                [y[i] for i in shown],
                mark,
                color=colour,
                markersize=5.5,
                mfc=colour if solid else "white",
            )
        axes.plot([], [], f"{mark}-", color=colour, label=_plain(series.title))
    if any(point.state != "complete" for point in points):
        axes.plot([], [], "o", color=INK, mfc="white", label="invalid or incomplete")
    step = -(-len(names) // NAMED) or 1
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=40, ha="right", fontsize=8)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.set(ylim=(0, 106), ylabel="robust accuracy, % (95% Wilson interval)")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(frameon=False, fontsize=8, loc="outside upper left", labelcolor=INK)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return saved(figure, suffix)


def _name(point: HistoryPoint) -> str:
    return point.commit[:9] if point.commit else point.started[:16].replace("T", " ")


def _plain(text: str) -> str:
    """Return a label that matplotlib shows; it hides labels that start with an underscore."""
    return text.lstrip("_") or "?"
