"""Training on clean images: the undefended baseline."""

from advbench.defenses.base import Defense


class Standard(Defense):
    """Empirical risk minimisation.

    Examples
    --------
    >>> Standard().robust
    False
    """

    paper = "Vapnik 1991, Principles of risk minimization for learning theory"
    robust = False
