"""Training on clean images: the undefended network that every table needs beside the defended ones."""

from advbench.defenses.base import Defense


class Standard(Defense):
    """Empirical risk minimisation."""

    paper = "Vapnik 1991, Principles of risk minimization for learning theory"
    robust = False
