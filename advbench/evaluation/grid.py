"""Images for models whose pixels arrive in steps, 8-bit ones: what is judged must be what can be sent."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from advbench.core.spec import Epsilon, ThreatSpec
from advbench.evaluation.judge import ORDERS


def within_steps(threat: ThreatSpec, levels: int | None) -> ThreatSpec:
    """The ball to search: in Linf the largest whole number of steps, since rounding never leaves that one."""
    if levels is None or threat.norm != "linf":
        return threat
    steps = int(threat.eps.value * levels + Fraction(1, 10**6))
    return replace(threat, eps=Epsilon(threat.eps.text, Fraction(steps, levels)))


def snap(threat: ThreatSpec, x: np.ndarray, x_adv: np.ndarray, levels: int | None) -> np.ndarray:
    """`x_adv` on the grid of whole steps, in the ball around the clean `x`; as it is where pixels have no steps.

    Each value goes to the nearest step, as it does when an image is sent. Where that leaves the ball, the values whose
    rounding added most go to the step on the clean side instead, as few of them as will do.

    Parameters
    ----------
    x, x_adv : np.ndarray
        float32 `[m, H, W, C]`; `x` on the grid, in [0, 1].
    levels : int or None
        Steps from black to white; 255 for 8 bits.
    """
    if levels is None:
        return x_adv
    clean = np.rint(x.astype(np.float64) * levels)
    moved = np.nan_to_num(x_adv.astype(np.float64) * levels) - clean
    near = np.rint(moved)
    if threat.norm in ("l1", "l2"):
        size = float(threat.eps) * levels
        near = np.stack([_inside(moved[at], near[at], size, int(ORDERS[threat.norm])) for at in range(len(x))])
    elif threat.norm == "linf":
        most = int(within_steps(threat, levels).eps.value * levels)
        near = near.clip(-most, most)
    return ((clean + near).clip(0, levels) / levels).astype(np.float32)


def _inside(moved: np.ndarray, near: np.ndarray, size: float, order: int) -> np.ndarray:
    """One image's steps, of Lp size at most `size` where `moved` was."""

    def mass(d: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(d) ** order).ravel()

    excess = mass(near).sum() - size**order
    if excess <= 0:
        return near
    inward = np.trunc(moved)
    worst = np.argsort(mass(moved) - mass(near), kind="stable")
    few = int(np.searchsorted(np.cumsum((mass(near) - mass(inward))[worst]), excess)) + 1
    steps = near.ravel().copy()
    steps[worst[:few]] = inward.ravel()[worst[:few]]
    return steps.reshape(near.shape)
