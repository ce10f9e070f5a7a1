"""Paired comparison of two outcomes on the same images: size of the difference, its interval, and a test."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from pydantic import Field

from advbench.core.flag import Record
from advbench.core.intervals import LEVEL
from advbench.evaluation.result import Count, Fractional


class Difference(Record):
    """Difference of two paired proportions, after minus before.

    Attributes
    ----------
    n : int
        Number of image pairs.
    before, after : int
        Images correct before, and after.
    lost, won : int
        Images correct before only, and after only.
    change, low, high : float
        (won - lost) / n and its interval, in [-1, 1].
    p : float
        Two-sided p-value of the exact McNemar test that nothing changed.
    interval : str
        Method and level of the interval, like `tango-95`.
    """

    n: Count
    before: Count
    after: Count
    lost: Count
    won: Count
    change: float = Field(ge=-1, le=1)
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)
    p: Fractional
    interval: str = "tango-95"

    @classmethod
    def of(
        cls,
        before: Sequence[bool] | np.ndarray,
        after: Sequence[bool] | np.ndarray,
        level: float = LEVEL,
        population: int | None = None,
    ) -> Difference:
        """Compare outcomes on the same images, in the same order.

        Parameters
        ----------
        before, after : sequence of bool
            Outcomes, `[n]` each.
        level : float
            Coverage of the interval, in (0, 1).
        population : int, optional
            Size of the finite population of which the images are a random part. The interval is then for the change in
            the population, and exact: its coverage is never below `level`. Otherwise it is Tango's, of about `level`.

        Returns
        -------
        Difference
            After minus before.

        Raises
        ------
        ValueError
            When the two differ in length or are not one-dimensional.
        """
        from advbench.evaluation.exact import changed

        was, is_ = np.asarray(before, bool), np.asarray(after, bool)
        if was.shape != is_.shape or was.ndim != 1:
            raise ValueError(f"outcomes of shapes {was.shape} and {is_.shape} are not pairs")
        n, lost, won = len(was), int((was & ~is_).sum()), int((~was & is_).sum())
        if population is None:
            low, high = tango(won, lost, n, level)
        else:
            least, most = changed(won, lost, n, population, level)
            low, high = least / population, most / population
        return cls(
            n=n,
            before=int(was.sum()),
            after=int(is_.sum()),
            lost=lost,
            won=won,
            change=(won - lost) / n if n else 0.0,
            low=low,
            high=high,
            p=mcnemar(lost, won),
            interval=f"{'tango' if population is None else 'exact'}-{100 * level:.10g}",
        )


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided p-value of the exact McNemar test (McNemar 1947, doi 10.1007/BF02295996).

    Parameters
    ----------
    lost, won : int
        Discordant pairs of each kind: under the null hypothesis a pair is of either kind with probability 1/2.

    Returns
    -------
    float
        In (0, 1].
    """
    discordant, fewer = lost + won, min(lost, won)
    tail = sum(math.comb(discordant, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << discordant))


def tango(won: int, lost: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the score interval for the difference of paired proportions (Tango 1998, Statistics in Medicine 17).

    Parameters
    ----------
    won, lost : int
        Discordant pairs: success in the second only, and in the first only.
    n : int
        Number of all pairs.
    level : float
        Approximate coverage, in (0, 1).

    Returns
    -------
    tuple of float
        Bounds of (won - lost) / n, in [-1, 1]; (-1, 1) when there are no pairs.
    """
    if n == 0:
        return -1.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)

    middle = (won - lost) / n
    low = _root(lambda delta: float(score(won, lost, n, delta)) - z, -1.0, middle)
    high = _root(lambda delta: float(score(won, lost, n, delta)) + z, middle, 1.0)
    return low, high


def score(won: np.ndarray | int, lost: np.ndarray | int, n: int, delta: float) -> np.ndarray:
    """Return Tango's score statistic: standard deviations by which won - lost exceeds `n * delta`, elementwise."""
    a = 2.0 * n
    b = -won - lost + (2 * n - won + lost) * delta
    c = -lost * delta * (1 - delta)
    p21 = (np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    spread = n * (2 * p21 + delta * (1 - delta))
    off = np.asarray(won - lost - n * delta, float)
    beyond = np.where(off == 0, 0.0, np.copysign(np.inf, off))
    found: np.ndarray = np.where(spread > 0, off / np.sqrt(np.where(spread > 0, spread, 1.0)), beyond)
    return found


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple tests by Holm's method (Holm 1979, doi 10.2307/4615733).

    Parameters
    ----------
    ps : sequence of float
        p-values in [0, 1].

    Returns
    -------
    list of float
        Adjusted p-values in the order of `ps`.
    """
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = highest
    return adjusted


def _root(f: Callable[[float], float], left: float, right: float) -> float:
    """Return the zero of a decreasing function by bisection; without a zero, the end nearer to one."""
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (middle, right) if f(middle) > 0 else (left, middle)
    return (left + right) / 2
