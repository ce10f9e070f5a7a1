"""Exact interval for the change of accuracy in a finite population, from a random part of its images."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np

from advbench.evaluation.paired import score, tango

NUISANCE = 0.05  # share of the error spent on bounding the number of changed images
GRAIN = 40  # bounds are wider by 1 to 2 times 1/40 of the difference's standard deviation: finer ones cost more time
NEGLIGIBLE = 1e-20  # probabilities below this are left out of sums
LEFT_OUT = 1e-12  # added instead of them: more than all of them together


def changed(won: int, lost: int, n: int, population: int, level: float) -> tuple[int, int]:
    """Bound won minus lost in the whole population, with coverage of at least `level` for every population.

    The images drawn are a uniformly random part of the population. Outcomes are ordered by Tango's bound. A change of
    the population is excluded if the outcome, or a more extreme one, is too improbable for every number of changed
    images (Buehler 1957, doi 10.1080/01621459.1957.10501404) that is plausible itself (Berger & Boos 1994, doi
    10.1080/01621459.1994.10476836). Probabilities are summed, never approximated from below.

    Parameters
    ----------
    won, lost : int
        Of the `n` images drawn: wrong before and right after, and right before and wrong after.
    n, population : int
        Number of images drawn, and of all images.
    level : float
        Coverage, in (0, 1); each side gets half of the error.

    Returns
    -------
    tuple of int
        The smallest and the largest change, in images; both are exact when the whole population is drawn.

    Raises
    ------
    ValueError
        Unless 0 <= won, 0 <= lost and won + lost <= n <= population.
    """
    if min(won, lost) < 0 or not won + lost <= n <= population:
        raise ValueError(f"{won} won and {lost} lost in {n} images of {population}")
    tail = (1 - level) / 2
    return -highest(lost, won, n, population, tail), highest(won, lost, n, population, tail)


def highest(won: int, lost: int, n: int, population: int, tail: float) -> int:
    """Return the largest change of the population that is not excluded; the error probability is at most `tail`."""
    seen, unseen = won - lost, population - n
    if n in (0, population):
        return seen + unseen
    most = most_changed(won + lost, n, population, NUISANCE * tail)
    within = region(won, lost, n, tail)
    grain = max(1, int(population * sqrt(won + lost + 1) / (n * GRAIN)))
    kept, gone = seen * population // n, seen + unseen + 1  # above the estimate, a larger change is never likelier
    while gone - kept > grain:
        middle = (kept + gone) // 2
        out = too_rare(within, population, middle, most, (1 - NUISANCE) * tail, grain)
        kept, gone = (kept, middle) if out else (middle, gone)
    return gone - 1


def most_changed(drawn: int, n: int, population: int, error: float) -> int:
    """Return the largest number of changed images in the population that `drawn` of `n` do not exclude at `error`."""
    kept, gone = drawn * population // n, population - (n - drawn) + 1
    while gone - kept > 1:
        middle = (kept + gone) // 2
        likely = _probability(np.full(n + 1, drawn), population, middle, 0) > error
        kept, gone = (middle, gone) if likely else (kept, middle)
    return kept


def region(won: int, lost: int, n: int, tail: float) -> np.ndarray:
    """Return the outcomes whose upper bound is no larger: the most won images for each number lost, int `[n + 1]`.

    -1 means none. An outcome with fewer won or more lost images stays in the region. So the region's probability
    falls with the number of images that the population wins, and grows with the number it loses.
    """
    z = NormalDist().inv_cdf(1 - tail)
    bound = tango(won, lost, n, 1 - 2 * tail)[1]
    losses = np.arange(n + 1)
    inside, outside = np.full(n + 1, -1), n - losses + 1
    while (outside - inside > 1).any():
        middle = (inside + outside) // 2
        further = (score(middle, losses, n, bound) <= -z) & (middle > inside)
        inside, outside = np.where(further, middle, inside), np.where(further, outside, middle)
        outside = np.maximum(outside, inside + 1)
    inside[lost] = max(inside[lost], won)  # rounding must not exclude the outcome itself
    most: np.ndarray = np.maximum.accumulate(inside)
    return most


def too_rare(within: np.ndarray, population: int, change: int, most: int, error: float, grain: int = 1) -> bool:
    """Return whether a region is too improbable at a change, for every number of changed images up to `most`.

    For a range of numbers, the fewest won with the most lost images bound the probability from above. A range that
    this does not exclude is halved, until it has at most `grain` numbers: then it counts as not excluded.
    """
    least_won, least_lost = max(change, 0), max(-change, 0)  # both grow by the same number
    ranges = [(0, (most - abs(change)) // 2)]
    while ranges:
        first, last = ranges.pop()
        if first > last or _probability(within, population, least_won + first, least_lost + last) <= error:
            continue
        if last - first < grain:
            return False
        middle = (first + last) // 2
        ranges += [(first, middle), (middle + 1, last)]
    return True


def _probability(within: np.ndarray, population: int, won: int, lost: int) -> float:
    """Return the probability of a region, given how many images the population won and lost; never too small.

    Drawn without replacement, the numbers of lost, won and unchanged images are independent binomials, given that
    they add up to `n`.
    """
    n = len(within) - 1
    losses, share = _likely(lost, n, population)
    wins, among = _likely(won, n, population)
    others, rest = np.arange(n + 1), np.zeros(n + 1)
    possible = n - others <= population - won - lost
    rest[possible] = _binomial(n - others[possible], population - won - lost, n, population)
    joint = among * rest[np.minimum(losses[:, None] + wins, n)]
    joint[(losses[:, None] + wins > n) | (wins > within[losses][:, None])] = 0.0
    return float(share @ joint.sum(1) / _binomial(np.array([n]), population, n, population)[0]) + LEFT_OUT


def _likely(marked: int, n: int, population: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the possible numbers of marked images drawn, negligible ones left out, and their probabilities."""
    hits = np.arange(min(marked, n) + 1)
    share = _binomial(hits, marked, n, population)
    return hits[share > NEGLIGIBLE], share[share > NEGLIGIBLE]


def _binomial(hits: np.ndarray, of: int, n: int, population: int) -> np.ndarray:
    """Return the probability of `hits` out of `of` images, each drawn with probability n / population, in (0, 1)."""
    log, p = _log_factorials(population), n / population
    chosen = log[of] - log[hits] - log[of - hits]
    found: np.ndarray = np.exp(chosen + hits * np.log(p) + (of - hits) * np.log1p(-p))
    return found


@lru_cache(maxsize=8)
def _log_factorials(largest: int) -> np.ndarray:
    from scipy.special import gammaln  # type: ignore[import-untyped]

    table: np.ndarray = gammaln(np.arange(largest + 1) + 1.0)
    return table
