"""Figures: adversarial images beside clean ones, and robust accuracy over eps."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from advbench.core.errors import Inconclusive
from advbench.core.images import pixels
from advbench.reports.pictures import (
    Pair,
    amplified,
    class_name,
    varied,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset
    from advbench.evaluation import Result
    from advbench.evaluation.tally import AdversarialImages

GOOD, BAD, INK = "#0072b2", "#d55e00", "#333333"  # distinct for the colour-blind too
SHOWN = 8


class Example(NamedTuple):
    """A clean and an adversarial image with the model's predictions.

    Attributes
    ----------
    number : int
        Index in the data set.
    clean, adversarial : np.ndarray
        float32 `[H, W, C]` in [0, 1].
    label : str
        True class.
    before, after : tuple of str and float or None
        Predicted class of each image, and its probability if the model is available.
    by : str
        Name of the attack.
    """

    number: int
    clean: np.ndarray
    adversarial: np.ndarray
    label: str
    before: tuple[str, float | None]
    after: tuple[str, float | None]
    by: str


def examples(result: Result, images: AdversarialImages, model: LoadedModel, data: Dataset) -> list[Example]:
    """Choose up to eight broken images, of as many classes as possible.

    Parameters
    ----------
    result, images : Result, AdversarialImages
        The evaluation and its adversarial images.
    model : LoadedModel
        The model, for the probabilities.
    data : Dataset
        The clean images.

    Returns
    -------
    list of Example
        The images with predictions.

    Raises
    ------
    Inconclusive
        When no attack broke an image, so that there is nothing to show.
    """
    at = varied(data.labels[images.index].tolist())[:SHOWN]
    if not at:
        raise Inconclusive(f"no attack broke an image of {result.model.name}: there is nothing to draw")
    indices, adversarial = images.index[at], images.x_adv[at]
    clean = pixels(data.images[indices])
    by = {row.index: row.broken_by or "" for row in result.rows}
    said = zip(_says(model, clean, data.classes), _says(model, adversarial, data.classes), strict=True)
    return [
        Example(int(i), x, x_adv, data.classes[data.labels[i]], before, after, by[int(i)].partition(":")[0])
        for i, x, x_adv, (before, after) in zip(indices, clean, adversarial, said, strict=True)
    ]


def changed(result: Result, broken: Sequence[Pair], kind: str) -> list[Example]:
    """Return images that one of two runs broke as examples without probabilities; `kind` is `lost` or `won`."""
    return [
        Example(
            pair.row.index,
            pair.clean,
            pair.adversarial,
            class_name(result, pair.row.label),
            (class_name(result, pair.row.clean_prediction), None),
            (class_name(result, pair.row.prediction), None),
            f"{str(pair.row.broken_by).partition(':')[0]} ({kind})",
        )
        for pair in broken
    ]


def draw_examples(result: Result, shown: Sequence[Example], suffix: str, title: str = "") -> bytes:
    """Draw clean image, adversarial image and amplified difference, one or two examples per row.

    Parameters
    ----------
    result : Result
        The evaluation.
    shown : sequence of Example
        At least one.
    suffix : str
        Format of the file, like `.png` or `svg`.
    title : str
        Title of the figure; by default that of the result.

    Returns
    -------
    bytes
        The file.
    """
    blocks = 2 if len(shown) > 3 else 1
    rows = -(-len(shown) // blocks)
    figure = blank(5.1 * blocks, 0.95 + 1.78 * rows)
    figure.suptitle(title or _title(result), fontsize=10.5, color=INK, parse_math=False)
    widths = [1, 1, 1, 0.16] * blocks
    grid = figure.subplots(rows, 4 * blocks, squeeze=False, gridspec_kw={"width_ratios": widths[: 4 * blocks]})
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, example in enumerate(shown):
        row, block = number % rows, number // rows
        _example(grid[row, 4 * block : 4 * block + 3], example)
    return saved(figure, suffix)


def draw_curve(results: Sequence[Result], suffix: str) -> bytes:
    """Draw robust accuracy over eps with its 95 % interval, from the clean accuracy at eps 0.

    Parameters
    ----------
    results : sequence of Result
        One per eps, increasing.
    suffix : str
        Format of the file, like `.png` or `svg`.

    Returns
    -------
    bytes
        The file.
    """
    first = results[0]
    figure = blank(6.0, 3.9)
    axes = figure.subplots()
    points = [(0.0, "0", first.clean), *((r.threat.eps_value, r.threat.eps, r.robust) for r in results)]
    points = [point for at, point in enumerate(points) if at == 0 or point[0] > 0]
    x = [eps for eps, _, _ in points]
    low, high = ([100 * getattr(rate, bound) for _, _, rate in points] for bound in ("low", "high"))
    axes.fill_between(x, low, high, color=GOOD, alpha=0.18, linewidth=0, label="95% interval (Wilson)")
    axes.plot(
        x, [100 * rate.accuracy for _, _, rate in points], "o-", color=GOOD, markersize=4.5, label="robust accuracy"
    )
    axes.axhline(100 / len(first.data.classes), color=INK, linewidth=0.8, linestyle=":", label="chance")
    for eps, _, rate in points:
        axes.annotate(
            f"{rate.accuracy:.1%}",
            (eps, 100 * rate.accuracy),
            xytext=(4, 6),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
    axes.set_xticks(x, [text for _, text, _ in points])
    axes.set(ylim=(0, 106), xlim=(0, 1.1 * max(x)), ylabel="accuracy, %", xlabel=f"eps ({first.threat.norm})")
    axes.set_title(
        f"{first.model.name} on {first.data.n:,} images of {first.data.name}", **_small(INK) | {"fontsize": 10.5}
    )
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return saved(figure, suffix)


def _example(axes: Iterable[Axes], example: Example) -> None:
    change, factor = amplified(example.clean, example.adversarial)
    for place, picture in zip(places := list(axes), (example.clean, example.adversarial, change), strict=True):
        grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if picture.shape[-1] == 1 else {}
        place.imshow(np.clip(picture[..., 0] if grey else picture, 0, 1), interpolation="nearest", **grey)
    right = example.before[0] == example.label
    _caption(places[0], f"true: {example.label} (#{example.number})", example.before, GOOD if right else BAD)
    _caption(places[1], "adversarial", example.after, BAD)
    places[2].set_title(f"change x {factor:.3g}\nfound by {example.by}", **_small(INK))


def _caption(axes: Axes, what: str, said: tuple[str, float | None], colour: str) -> None:
    sure = "" if said[1] is None else f", {said[1]:.0%}"
    axes.set_title(f"{what}\npredicted {said[0]}{sure}", **_small(colour))


def _small(colour: str) -> dict[str, Any]:
    return {"fontsize": 8, "color": colour, "pad": 3, "parse_math": False}


def _title(result: Result) -> str:
    return (
        f"{result.model.name} under {result.threat.title}: "
        f"{result.clean.accuracy:.1%} clean, {result.robust.accuracy:.1%} robust ({result.robust.n:,} images)"
    )


def _says(model: LoadedModel, images: np.ndarray, classes: Sequence[str]) -> list[tuple[str, float]]:
    import jax

    from advbench.core.ambient import own_settings
    from advbench.core.external import raised

    with own_settings(), raised():
        probabilities = np.asarray(jax.nn.softmax(jax.jit(lambda m, x: m(x))(model.predict, images)))
    return [(classes[row.argmax()], float(row.max())) for row in probabilities]


def blank(width: float, height: float) -> Figure:
    """Create an empty figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def saved(figure: Figure, suffix: str) -> bytes:
    """Return the figure as a file in the format that `suffix` names, like `.png`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix.lower().lstrip("."), facecolor="white")
    return buffer.getvalue()
