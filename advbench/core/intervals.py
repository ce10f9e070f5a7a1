"""Confidence intervals of a proportion: `k` successes in `n` trials."""

import math

LEVEL = 0.95
Z = 1.959963984540054  # the normal quantile at 0.975


def wilson(k: int, n: int) -> tuple[float, float]:
    """Score interval at 95 % (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    Parameters
    ----------
    k, n : int
        Successes and trials, 0 <= k <= n.

    Returns
    -------
    tuple of float
        Lower and upper bound, in [0, 1]; (0, 1) when there are no trials.

    Raises
    ------
    ValueError
        Unless 0 <= k <= n.
    """
    _check(k, n)
    if n == 0:
        return 0.0, 1.0
    centre = (k + Z**2 / 2) / (n + Z**2)
    half = Z / (n + Z**2) * math.sqrt(k * (n - k) / n + Z**2 / 4)
    # At the ends a bound is exactly 0 or 1; rounding must not change that.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def clopper_pearson(k: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval (Clopper & Pearson 1934, doi 10.1093/biomet/26.4.404), with coverage of at least `level`.

    Parameters
    ----------
    k, n : int
        Successes and trials, 0 <= k <= n.
    level : float, default LEVEL
        Coverage, in (0, 1).

    Returns
    -------
    tuple[float, float]
        Lower and upper bound, in [0, 1]; (0, 1) when there are no trials.

    Raises
    ------
    ValueError
        Unless 0 <= k <= n.

    Examples
    --------
    >>> low, high = clopper_pearson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    from scipy.special import betaincinv  # type: ignore[import-untyped]

    _check(k, n)
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def at_least(k: int, n: int, p: float) -> float:
    """Compute the probability of `k` or more successes in `n` trials, without loading SciPy.

    Parameters
    ----------
    k, n : int
        Successes and trials, 0 <= k <= n.
    p : float
        Probability of a success, in (0, 1). The lower end of the Clopper-Pearson interval is above it where the result
        is below the tail that the interval leaves out on that side.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        Unless 0 <= k <= n.

    Examples
    --------
    >>> round(at_least(2, 3, 0.5), 12)
    0.5
    """
    _check(k, n)
    ways = math.lgamma(n + 1)
    terms = (
        ways - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k, n + 1)
    )
    return min(math.fsum(map(math.exp, terms)), 1.0)


def _check(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes in {n} trials")
