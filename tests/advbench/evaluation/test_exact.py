"""The exact interval of a change: by enumeration it is wrong no more often than it says."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from advbench.evaluation.exact import changed, highest
from advbench.evaluation.paired import tango


def likely(won, lost, n, population, most):
    """Probability of so many won and lost images in a draw, `[most + 1, most + 1]`."""
    loss, win = np.arange(min(most, n) + 1), np.arange(min(most, n) + 1)[:, None]
    p = hypergeom.pmf(loss, population, lost, n) * hypergeom.pmf(win, population - lost, won, n - loss)
    return np.nan_to_num(p)  # of what can't be


def failing(fails, n, lost=0):
    """Outcomes that `fails`: the fewest lost images at which it does, for each number of won ones."""
    found = {}
    for won in range(min(n, 8)):  # more are next to never drawn where so few were won
        lost = next((lost for lost in range(lost, n - won + 1) if fails(won, lost)), n + 1)
        found[won] = lost
    return found


def wrongly(fails, won, lost, n, population):
    """How often a population ends in one of them."""
    p = likely(won, lost, n, population, 40)
    return sum(p[at, least:].sum() for at, least in fails.items())


@pytest.mark.parametrize(
    ("n", "population", "drop", "error"),
    [(200, 10_000, 200, 0.01), (200, 10_000, 200, 0.05), (20, 400, 20, 0.05)],
)
def test_a_drop_is_wrongly_told_no_more_often_than_stated(n, population, drop, error):
    """Where the truth is just the drop that is allowed, so that a fail is wrong, whatever was won beside it."""
    fails = failing(lambda won, lost: highest(won, lost, n, population, error) < -drop, n, n * drop // population)
    truths = [(won, won + drop) for won in (0, population // 400, population // 200)]
    told = [wrongly(fails, *truth, n, population) for truth in truths]
    assert (0.3 if n == 200 else 0) * error < max(told) <= error


def test_tango_s_interval_is_wrong_more_often_than_stated():
    """Why another one decides: at n = 200, even with half of the error on each side."""
    fails = failing(lambda won, lost: tango(won, lost, 200, 0.95)[1] < -0.02, 200, 4)
    assert wrongly(fails, 25, 225, 200, 10_000) > 0.0505


@pytest.mark.parametrize(("won", "lost", "n"), [(0, 0, 5), (1, 2, 5), (0, 5, 5), (3, 1, 6)])
def test_what_was_seen_is_certain_and_sides_can_be_swapped(won, lost, n):
    low, high = changed(won, lost, n, 8, 0.9)
    unseen = 8 - n
    assert won - lost - unseen <= low <= won - lost <= high <= won - lost + unseen
    assert (low, high) == tuple(-bound for bound in reversed(changed(lost, won, n, 8, 0.9)))


def test_coverage_of_every_small_population():
    """All outcomes of all populations of 8 images, 4 of them drawn."""
    bounds = {(w, k): changed(w, k, 4, 8, 0.8) for w in range(5) for k in range(5 - w)}
    for won in range(9):
        for lost in range(9 - won):
            p = likely(won, lost, 4, 8, 4)
            outside = [p[at] for at, (low, high) in bounds.items() if not low <= won - lost <= high]
            assert sum(outside) <= 0.2 + 1e-9


def test_the_whole_population_leaves_no_doubt_and_no_image_leaves_all():
    assert changed(3, 9, 50, 50, 0.99) == (-6, -6)
    assert changed(0, 0, 0, 50, 0.99) == (-50, 50)
    for wrong in ((1, 1, 1, 5), (-1, 0, 1, 5), (0, 0, 6, 5)):
        with pytest.raises(ValueError, match="images of 5"):
            changed(*wrong, 0.95)


def test_it_is_hardly_wider_than_tango_s():
    """Of a large population; of a small one it is narrower, since little is left unseen."""
    low, high = tango(5, 9, 400)
    least, most = (bound / 40_000 for bound in changed(5, 9, 400, 40_000, 0.95))
    assert most - least < 1.15 * (high - low)
    least, most = (bound / 800 for bound in changed(5, 9, 400, 800, 0.95))
    assert most - least < 0.85 * (high - low)
