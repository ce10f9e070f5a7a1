"""Confidence sequences for draws without replacement: bounds of a population's successes, valid at every look."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, lgamma, log

METHOD = "prior-posterior-ratio, without replacement"
WEIGHT = 30.0  # weight of the prior, in draws: thresholds are mostly set near the model's accuracy


def bounds(correct: int, n: int, population: int, error: float, centre: float) -> tuple[int, int]:
    """Confidence sequence of a count: with probability `1 - error` it covers the truth at every `n` at once.

    The prior-posterior-ratio martingale of Waudby-Smith & Ramdas 2020 (arXiv 2006.04347, theorem 4.1): the posterior of
    the truth, over its prior, is always above `error` except with that probability, by Ville's inequality. The prior is
    beta-binomial, centred on `centre`; any prior chosen beforehand is valid, this one needs fewer draws near it.

    Parameters
    ----------
    correct, n : int
        Successes and draws so far, in a uniformly random order.
    population : int
        Size of the population, at least `n`.
    error : float
        Error probability, in (0, 1).
    centre : float
        Proportion of interest, in [0, 1].

    Returns
    -------
    tuple[int, int]
        Least and largest number of successes in the population that can't be excluded; both are the truth when
        everything is drawn.

    Raises
    ------
    ValueError
        Unless 0 <= correct <= n <= population.

    Examples
    --------
    >>> bounds(10, 10, 10, 0.05, 0.5)
    (10, 10)
    """
    if not 0 <= correct <= n <= population:
        raise ValueError(f"{correct} successes in {n} draws of {population}")
    a, b = WEIGHT * centre + 0.5, WEIGHT * (1 - centre) + 0.5
    marginal = _log_choose(n, correct) + _log_beta(correct + a, n - correct + b) - _log_beta(a, b)
    least = log(error) + marginal + _log_choose(population, n)

    def kept(total: int) -> bool:
        likelihood = _log_choose(total, correct) + _log_choose(population - total, n - correct)
        return likelihood > least - 1e-9  # rounding may only widen

    first, last = correct, population - (n - correct)
    likeliest = min(max(correct * (population + 1) // n, first), last) if n else population // 2
    return _edge(kept, likeliest, first), _edge(kept, likeliest, last)


def _edge(kept: Callable[[int], bool], inside: int, end: int) -> int:
    """Return the last kept number between a kept one and an end; likelihood decreases on the way."""
    if kept(end):
        return end
    outside = end
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if kept(middle) else (inside, middle)
    return inside


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) if 0 <= k <= n else -inf


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
