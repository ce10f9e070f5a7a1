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


def _check(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes in {n} trials")
