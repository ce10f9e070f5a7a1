"""Pictures: which images are shown, what is said of them, and that they open."""

import io
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image

from advbench.core.errors import Inconclusive
from advbench.core.lazy import Lazy
from advbench.evaluation.result import Rate
from advbench.evaluation.tally import AdversarialImages
from advbench.reports import figure
from advbench.reports.figure import (
    SHOWN,
    draw_curve,
    draw_examples,
    examples,
)
from advbench.reports.pictures import Pairs, spread

CLASSES = tuple(f"class ${k}_x$" for k in range(10))  # would be formulas, if read as such


def brightness(x):
    """Logits that rise with the class, by the mean brightness."""
    return x.mean((1, 2, 3))[:, None] * jnp.arange(10.0)


MODEL = SimpleNamespace(predict=Partial(brightness))


def scene(make, channels, broken=20):
    """A result, its adversarial images, and the data they came from: five images of each class."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 6, 6, channels), dtype=np.uint8)
    data = SimpleNamespace(images=images, labels=np.arange(100, dtype=np.int32) // 5 % 10, classes=CLASSES)
    index = np.arange(100 - broken, 100, dtype=np.int32)
    x_adv = np.clip(images[index] / 255 + 0.1, 0, 1).astype(np.float32)
    return make(name="net_$a$", robust=100 - broken, clean=100), AdversarialImages(index, x_adv), data


@pytest.mark.parametrize("channels", [1, 3])
def test_examples_are_varied_and_say_what_the_model_says(make, channels):
    result, images, data = scene(make, channels)
    shown = examples(result, images, MODEL, data)
    assert len(shown) == SHOWN
    labels = [data.labels[example.number] for example in shown]
    assert [labels.count(k) for k in np.unique(labels)] == [2, 2, 2, 2]  # 4 classes are broken: each twice
    for example in shown:
        assert np.array_equal(example.clean, data.images[example.number].astype(np.float32) / 255)
        assert example.label == CLASSES[data.labels[example.number]]
        assert example.by == "fgsm"
        logits = float(example.adversarial.mean()) * np.arange(10)
        assert example.after == (CLASSES[9], pytest.approx(1 / np.exp(logits - logits[9]).sum(), rel=1e-5))
        assert example.before[1] < example.after[1]  # darker: less sure


@pytest.mark.parametrize(("channels", "broken", "suffix"), [(1, 20, ".png"), (3, 2, ".png"), (3, 20, ".svg")])
def test_pictures_open_and_names_are_not_formulas(make, channels, broken, suffix):
    result, images, data = scene(make, channels, broken)
    picture = draw_examples(result, examples(result, images, MODEL, data), suffix)
    if suffix == ".svg":
        assert picture.lstrip().startswith(b"<?xml")
        return
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    assert pixels.shape[1] > 700
    colours = np.abs(pixels[..., 0].astype(int) - pixels[..., 2]).max()
    assert colours > 100  # the change is in colour, also of a grey image


def test_nothing_broken_is_nothing_to_draw(make):
    result, images, data = scene(make, 1, broken=0)
    with pytest.raises(Inconclusive, match="nothing to draw"):
        examples(result, images, MODEL, data)


def test_the_curve_runs_from_clean_to_the_largest_eps_in_its_band(make, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figure, "saved", lambda picture, suffix: drawn.setdefault("axes", picture.axes[0]) and b"")
    draw_curve([make(eps="0.1", robust=80), make(eps="0.2", robust=40)], ".png")
    axes = drawn["axes"]
    x, y = axes.lines[0].get_data()
    assert list(x) == [0, 0.1, 0.2]
    assert list(y) == pytest.approx([90, 80, 40])
    band = axes.collections[0].get_paths()[0].vertices
    for eps, rate in ((0.0, Rate.of(90, 100)), (0.1, Rate.of(80, 100)), (0.2, Rate.of(40, 100))):
        bounds = band[np.isclose(band[:, 0], eps), 1]
        assert (bounds.min(), bounds.max()) == pytest.approx((100 * rate.low, 100 * rate.high))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.1", "0.2"]


def test_the_curve_opens(make):
    picture = draw_curve([make(eps="0.1", robust=80)], ".png")
    assert Image.open(io.BytesIO(picture)).size[0] > 700


class Read(Lazy):
    """Images of one value each, their number; remembers which were asked for."""

    def __init__(self, n, dtype):
        super().__init__((n, 2, 2, 1), dtype)
        self.asked = []

    def one(self, index):
        self.asked.append(index)
        return np.full((2, 2, 1), index, self.dtype)


def test_no_more_pairs_are_read_than_are_drawn_and_those_are_of_many_classes():
    rows = [SimpleNamespace(index=10 * at, label=label) for at, label in enumerate([3, 3, 3, 1, 1, 2])]
    clean, adversarial = Read(6, np.uint8), Read(6, np.float32)
    found = spread(Pairs(rows, clean, adversarial), 4)
    assert [pair.row.index for pair in found] == [30, 50, 0, 40]  # one of each class, then a second
    assert [round(float(pair.clean.max()) * 255) for pair in found] == [3, 5, 0, 4]
    assert [pair.adversarial.max() for pair in found] == [3, 5, 0, 4]
    assert sorted(clean.asked) == sorted(adversarial.asked) == [0, 3, 4, 5]
