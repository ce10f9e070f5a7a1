"""Rounding of adversarial images for models that receive 8-bit pixels, so that the judged image can be sent."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from advbench.core.spec import Epsilon, ThreatSpec
from advbench.evaluation.judge import ORDERS


def within_steps(threat: ThreatSpec, levels: int | None) -> ThreatSpec:
    """Return the threat to search in: for Linf, eps rounded down to whole steps, a ball that rounding never leaves."""
    if levels is None or threat.norm != "linf":
        return threat
    steps = int(threat.eps.value * levels + Fraction(1, 10**6))
    return replace(threat, eps=Epsilon(threat.eps.text, Fraction(steps, levels)))


def snap(threat: ThreatSpec, x: np.ndarray, x_adv: np.ndarray, levels: int | None) -> np.ndarray:
    """Round adversarial images to whole steps within the ball around the clean images.

    Each value is rounded to the nearest step, as it is when an image is sent. If that leaves the ball, the values whose
    rounding increased the norm most are rounded towards the clean image instead, as few of them as necessary.

    Parameters
    ----------
    threat : ThreatSpec
        The ball.
    x, x_adv : np.ndarray
        Clean and adversarial images, float32 `[m, H, W, C]`; `x` on the grid, in [0, 1].
    levels : int or None
        Steps from black to white, 255 for 8 bits; None leaves `x_adv` unchanged.

    Returns
    -------
    np.ndarray
        float32 `[m, H, W, C]` in [0, 1].
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
    """Return one image's change in whole steps, with Lp norm at most `size`; `moved` is the change before rounding."""

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
