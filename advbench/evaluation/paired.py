"""Two outcomes of the same images: how much they differ, and whether that can be chance."""

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
    """Of two paired proportions: after minus before, its interval, and the exact p that nothing changed."""

    n: Count
    before: Count  # correct then
    after: Count  # correct now
    lost: Count  # correct then, not now
    won: Count  # correct now, not then
    change: float = Field(ge=-1, le=1)
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)
    p: Fractional  # two-sided, exact McNemar
    interval: str = "tango-95"

    @classmethod
    def of(
        cls,
        before: Sequence[bool] | np.ndarray,
        after: Sequence[bool] | np.ndarray,
        level: float = LEVEL,
        population: int | None = None,
    ) -> Difference:
        """Compare outcomes of the same images, in the same order.

        The interval is Tango's and holds at about `level`; where the images are a random part of a finite `population`
        it is of the change in the population, and exact: it never holds less often.

        Raises
        ------
        ValueError
            When there are not as many of the one as of the other.
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
    """Exact two-sided p of `lost` and `won` discordant pairs (McNemar 1947, doi 10.1007/BF02295996): a fair coin's."""
    discordant, fewer = lost + won, min(lost, won)
    tail = sum(math.comb(discordant, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << discordant))


def tango(won: int, lost: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of the difference of paired proportions (Tango 1998, Statistics in Medicine 17).

    Parameters
    ----------
    won, lost : int
        Discordant pairs: only the second, only the first was a success.
    n : int
        All pairs.
    level : float
        How often it covers the truth, about.

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
    """How many deviations won minus lost is above `n * delta`: Tango's statistic, of one outcome or of several."""
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
    """Adjusted p of several tests, in their order (Holm 1979, doi 10.2307/4615733)."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = highest
    return adjusted


def _root(f: Callable[[float], float], left: float, right: float) -> float:
    """Where a falling function crosses zero, by halving; the end that it does not leave if it never does."""
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (middle, right) if f(middle) > 0 else (left, middle)
    return (left + right) / 2
