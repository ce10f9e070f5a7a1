"""Common corruptions: made of an image, its number and a seed alone, and worse from severity to severity."""

from itertools import pairwise

import numpy as np
import pytest

from advbench.core.errors import UsageError
from advbench.data import load
from advbench.data.corruptions import (
    COLOUR,
    GREY,
    PUBLISHED,
    SEVERITIES,
    STAND_INS,
    corrupt,
    kinds,
)
from advbench.data.corruptions.strokes import canny_edges
from advbench.data.corruptions.weather import fractal

# Where the published strengths do not all grow: water turns to mud, bending replaces shifting, grey turns to gaudy.
UNEVEN = {"elastic", "frost", "glass-blur", "saturate", "spatter"}
EVERY = [("mnist", kind) for kind in GREY] + [("cifar10", kind) for kind in COLOUR]
N = 24


@pytest.fixture(scope="module")
def images():
    return {name: load(name, "test").images[:N] for name in ("mnist", "cifar10")}


@pytest.mark.parametrize(("data", "kind"), EVERY)
def test_severity_takes_images_further_from_clean(data, kind, images):
    clean = images[data]
    away = []
    for severity in SEVERITIES:
        made = corrupt(clean, kind, severity)
        assert made.shape == clean.shape and made.dtype == np.uint8
        away.append(np.abs(made.astype(float) - clean).mean())
    assert away[0] > 0
    if kind not in UNEVEN:
        assert away[-1] > away[0]
        assert all(b > 0.93 * a for a, b in pairwise(away)), away


@pytest.mark.parametrize(("data", "kind"), EVERY)
def test_an_image_does_not_depend_on_the_others(data, kind, images):
    clean, rows = images[data], [7, 2, 11]
    whole = corrupt(clean, kind, 3, seed=1)
    np.testing.assert_array_equal(corrupt(clean[rows], kind, 3, indices=rows, seed=1), whole[rows])


def test_the_seed_the_number_and_the_severity_choose_the_randomness(images):
    twice = images["cifar10"][[0, 0]]
    one, other = corrupt(twice, "gaussian-noise", 3)
    assert (one != other).any()
    assert (corrupt(twice, "gaussian-noise", 3, seed=1)[0] != one).any()
    np.testing.assert_array_equal(corrupt(twice, "gaussian-noise", 3)[0], one)


def test_there_are_as_many_kinds_as_published():
    assert len(GREY) == 15 and len(COLOUR) == 19
    assert kinds(1) is GREY and kinds(3) is COLOUR
    assert set(PUBLISHED) == set(GREY) and set(STAND_INS) <= set(COLOUR)
    assert all(len(strengths) == 5 for _, strengths in (*GREY.values(), *COLOUR.values()))


def test_corruptions_do_what_they_say(images):
    grey = np.full((1, 32, 32, 3), 100, np.uint8)
    assert set(np.unique(corrupt(grey, "impulse-noise", 5))) == {0, 100, 255}
    noise = corrupt(np.full((8, 32, 32, 3), 128, np.uint8), "gaussian-noise", 5) / 255
    assert noise.std() == pytest.approx(0.10, rel=0.02)
    shot = corrupt(np.full((8, 32, 32, 3), 128, np.uint8), "shot-noise", 5) / 255
    assert shot.std() == pytest.approx(np.sqrt(128 / 255 / 50), rel=0.03)
    np.testing.assert_array_equal(corrupt(grey, "brightness", 5), 100 + round(0.3 * 255))  # 76.5, to even
    np.testing.assert_array_equal(corrupt(grey, "contrast", 5), grey)
    np.testing.assert_array_equal(corrupt(grey, "motion-blur", 5), grey)
    np.testing.assert_array_equal(corrupt(grey, "zoom-blur", 5), grey)
    colours = images["cifar10"]
    np.testing.assert_array_equal(corrupt(colours, "saturate", 4).max(-1), colours.max(-1))  # the value stays
    digits = images["mnist"]
    np.testing.assert_array_equal(corrupt(digits, "stripe", 5)[:, :, 7:21], digits[:, :, 7:21])
    np.testing.assert_array_equal(corrupt(digits, "stripe", 5)[:, :, :7], 255 - digits[:, :, :7])


def test_edges_are_found_where_they_are():
    square = np.zeros((28, 28, 1))
    square[8:20, 8:20] = 1
    edges = canny_edges(square, 1.0, np.random.default_rng(0))[..., 0]
    assert set(np.unique(edges)) == {0, 1}
    assert not edges[10:18, 10:18].any() and not edges[:6].any()
    assert edges[10:18, 6:10].sum(1).min() == 1  # one pixel thin


def test_a_fractal_is_rougher_where_it_decays_less():
    def roughness(decay):
        lands = [fractal(32, decay, np.random.default_rng(seed)) for seed in range(5)]
        assert all(land.min() == 0 and land.max() == 1 for land in lands)
        return np.mean([np.abs(np.diff(land)).mean() for land in lands])

    assert roughness(1.5) > roughness(2) > roughness(3)


def test_what_is_not_there_is_refused(images):
    with pytest.raises(UsageError, match="shot-noise"):
        corrupt(images["mnist"], "shot-nose", 1)
    with pytest.raises(UsageError, match="from 1 to 5"):
        corrupt(images["mnist"], "fog", 6)
