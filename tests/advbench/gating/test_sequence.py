"""The bounds hold at every look: by definition, by simulation, and where everything is known."""

from math import ceil

import numpy as np
import pytest
from scipy.stats import betabinom, binom, hypergeom

from advbench.core.intervals import wilson
from advbench.gating.sequence import WEIGHT, bounds

N = 150


def by_definition(correct, n, population, error, centre):
    """All totals whose posterior is not below `error` times their prior."""
    a, b = WEIGHT * centre + 0.5, WEIGHT * (1 - centre) + 0.5
    totals = np.arange(population + 1)
    prior = betabinom.pmf(totals, population, a, b)
    likelihood = hypergeom.pmf(correct, population, totals, n)
    kept = totals[likelihood / (prior * likelihood).sum() > error]
    return kept[0], kept[-1]


@pytest.mark.parametrize("centre", [0, 0.4, 0.97, 1])
@pytest.mark.parametrize(("correct", "n"), [(0, 0), (0, 9), (9, 9), (5, 9), (30, 40), (1, 59), (60, 60), (17, 60)])
def test_bounds_are_those_of_the_definition(correct, n, centre):
    assert bounds(correct, n, 60, 0.05, centre) == by_definition(correct, n, 60, 0.05, centre)


@pytest.mark.parametrize("correct", [0, 1, 77, 150])
def test_nothing_is_uncertain_once_everything_is_drawn(correct):
    assert bounds(correct, 150, 150, 1e-9, 0.5) == (correct, correct)


def test_bounds_hold_what_was_seen_and_narrow():
    widths = []
    for n in (10, 100, 1000, 5000, 10_000):
        low, high = bounds(n * 9 // 10, n, 10_000, 0.05, 0.8)
        assert n * 9 // 10 <= low <= 9000 <= high <= 10_000 - n // 10
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True) and widths[-1] == 0


def test_a_smaller_error_gives_wider_bounds():
    low, high = zip(*(bounds(40, 60, 500, error, 0.5) for error in (0.2, 0.05, 0.001)), strict=True)
    assert sorted(low, reverse=True) == list(low) and sorted(high) == list(high)


@pytest.mark.parametrize("wrong", [(3, 2, 10), (-1, 2, 10), (2, 11, 10)])
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(ValueError, match="successes"):
        bounds(*wrong, 0.05, 0.5)


@pytest.mark.parametrize(
    ("good", "threshold", "most"), [(10_000, 0.9, 96), (0, 0.4, 32), (9300, 0.5, 32), (1000, 0.4, 64)]
)
def test_an_obvious_case_costs_tens_of_images(good, threshold, most):
    order = np.random.default_rng(0).permutation(np.arange(10_000) < good).cumsum()
    least = ceil(threshold * 10_000)
    looks = (bounds(int(order[n - 1]), n, 10_000, 0.05, threshold) for n in range(1, most + 1))
    assert any(high < least if good < least else low >= least for low, high in looks)


def verdicts(least, interval):
    """-1 fail, 1 pass, 0 open, for every number of draws and successes."""
    table = np.zeros((N + 1, N + 1), np.int8)
    for n in range(1, N + 1):
        for k in range(n + 1):
            low, high = interval(k, n)
            table[n, k] = 1 if low >= least else -1 if high < least else 0
    return table


def wrong_verdicts(least, good, interval, gates, rng):
    """How many of these gates, looking after every image, end with what is not so."""
    table, truth = verdicts(least, interval), 1 if good >= least else -1
    draws = rng.permuted(np.tile(np.arange(N) < good, (gates, 1)), axis=1).cumsum(1)
    looks = table[np.arange(1, N + 1), draws]
    first = looks[np.arange(gates), (looks != 0).argmax(1)]
    return int((first == -truth).sum())


@pytest.mark.parametrize("threshold", [0.4, 0.9])
@pytest.mark.parametrize("short", [0, 1])
def test_two_thousand_gates_are_wrong_no_more_often_than_they_say(threshold, short):
    """With the truth at the threshold, or one image short of it, where it is hardest."""
    least, error, gates = ceil(threshold * N), 0.1, 2000
    rng = np.random.default_rng(1)
    most = binom.ppf(0.999, gates, error)
    wrong = wrong_verdicts(least, least - short, lambda k, n: bounds(k, n, N, error, threshold), gates, rng)
    assert wrong <= most


def test_an_interval_for_one_look_would_be_wrong_too_often():
    """So that the test above can fail: at one look it is wrong in 5 % of gates at most."""
    rng, least = np.random.default_rng(1), ceil(0.4 * N)
    wrong = wrong_verdicts(least, least, lambda k, n: [round(bound * N, 6) for bound in wilson(k, n)], 2000, rng)
    assert wrong > binom.ppf(0.999, 2000, 0.05)


def test_coverage_at_every_look_at_once():
    rng, error, gates, good = np.random.default_rng(2), 0.1, 2000, 60
    covered = np.ones((N + 1, N + 1), bool)
    for n in range(1, N + 1):
        for k in range(max(0, n - (N - good)), min(n, good) + 1):
            low, high = bounds(k, n, N, error, 0.5)
            covered[n, k] = low <= good <= high
    draws = rng.permuted(np.tile(np.arange(N) < good, (gates, 1)), axis=1).cumsum(1)
    missed = int((~covered[np.arange(1, N + 1), draws].all(1)).sum())
    assert missed <= binom.ppf(0.999, gates, error)
