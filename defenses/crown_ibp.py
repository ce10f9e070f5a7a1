"""CROWN-IBP (Zhang et al. 2020, arXiv 1906.06316): interval bounds, tightened by one linear bound back to the image."""

from __future__ import annotations

from jax import Array

from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.base import Defense
from advbench.defenses.ibp import IBP, Bounded, bounded


class CROWNIBP(IBP):
    """`IBP`, with margins that move from linear bounds to intervals while eps warms up: more stable at the start.

    Parameters
    ----------
    beta
        Share of the linear bounds at the end, from 0 to 1.

    Examples
    --------
    >>> CROWNIBP(beta=0.5).kappa
    0.5
    """

    paper = "Zhang et al. 2020, arXiv 1906.06316"

    beta: float = 0.0

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if not 0 <= self.beta <= 1:
            raise ValueError(f"{type(self).__name__} needs beta between 0 and 1, not {self.beta:g}")

    def at(self, threat: Threat, ramp: float) -> Defense:
        interval = (1 - self.beta) * ramp
        return Mixed(threat=threat, clean=1 - (1 - self.kappa) * ramp, interval=interval)


class Mixed(Bounded):
    """Margins between linear bounds and intervals.

    Parameters
    ----------
    interval
        Share of interval bounds, from 0 to 1.
    """

    paper = CROWNIBP.paper

    interval: float = 1.0

    def margins(self, model: Model, x: Array, y: Array) -> Array:
        linear = bounded(model, self.threat, x, y, "crown-ibp")
        return self.interval * super().margins(model, x, y) + (1 - self.interval) * linear
