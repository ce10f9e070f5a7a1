"""Convergence of attacks: decide whether more steps, or more restarts, would break more images.

Every iterative attack is checked for steps and restarts separately, by the images that the last doubling broke.
Target classes do not count as restarts: their number is fixed, and a later one is meant to break further images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from advbench.attacks.spec import AttackSpec

Amount = Literal["steps", "restarts"]
AMOUNTS: Final[tuple[Amount, Amount]] = ("steps", "restarts")
BUDGETS: Final = ("steps", "queries")  # the settings that limit the length of a trial
SHARE: Final = 0.01  # of the robust images, which the last doubling may have broken
FEW: Final = 2  # images that it may always have broken: one or two predict nothing about the next doubling
NEXT: Final = math.log(2) / math.log(4 / 3)  # images of the next doubling over those of the last quarter, see `falling`


class Phase(NamedTuple):
    """Position of an attack in its work: the restart, and how often steps and restarts were doubled.

    Attributes
    ----------
    restart, restarts : int
        Number of the restart, from 0, and how many there are.
    steps_doubled, restarts_doubled : int
        How many times each was doubled.
    amount : {"steps", "restarts"} or None
        Which of the two was doubled last and caused this trial.
    """

    restart: int = 0
    restarts: int = 1
    steps_doubled: int = 0
    restarts_doubled: int = 0
    amount: Amount | None = None


class Falls:
    """The forward pass, restart and doubling at which each image was broken by each attack.

    Parameters
    ----------
    attacks, n : int
        Number of attacks and of images.
    """

    def __init__(self, attacks: int, n: int):
        self.phases = [Phase()] * attacks  # of the trials under way
        self.longest = np.zeros(attacks, np.int64)  # forward passes of the longest trial before any doubling
        self.doublings: dict[Amount, list[int]] = {amount: [0] * attacks for amount in AMOUNTS}
        self.passes = np.zeros((attacks, n), np.int64)  # forward passes of its trial until the image was broken
        self.restart = np.zeros((attacks, n))  # number of the breaking restart over all restarts: in (0, 1]
        self.doubling: dict[Amount, np.ndarray] = {amount: np.zeros((attacks, n), np.int64) for amount in AMOUNTS}

    @classmethod
    def join(cls, parts: Sequence[Falls]) -> Falls:
        """Join the records of several sets of images, in that order."""
        joined = cls(len(parts[0].phases), 0)
        joined.longest = np.max([part.longest for part in parts], 0)
        joined.passes = np.concatenate([part.passes for part in parts], 1)
        joined.restart = np.concatenate([part.restart for part in parts], 1)
        for amount in AMOUNTS:
            joined.doubling[amount] = np.concatenate([part.doubling[amount] for part in parts], 1)
            joined.doublings[amount] = [max(t) for t in zip(*(p.doublings[amount] for p in parts), strict=True)]
        return joined

    def begin(self, attack: int, phase: Phase) -> None:
        """Set the phase to which the attack's next batches belong."""
        self.phases[attack] = phase
        for amount, times in zip(AMOUNTS, (phase.steps_doubled, phase.restarts_doubled), strict=True):
            self.doublings[amount][attack] = max(self.doublings[amount][attack], times)

    def add(self, attack: int, passes: np.ndarray, new: np.ndarray, reached: np.ndarray) -> None:
        """Record a batch: its forward passes `[m]`, the newly broken positions, and the passes until each broke."""
        phase = self.phases[attack]
        if phase.amount is None:
            self.longest[attack] = max(self.longest[attack], passes.max(initial=0))
        self.passes[attack, new] = reached
        self.restart[attack, new] = (phase.restart + 1) / phase.restarts
        if phase.amount:
            self.doubling[phase.amount][attack, new] = self.doublings[phase.amount][attack]

    def late(self, attack: int, spec: AttackSpec, amount: Amount, broken: np.ndarray) -> int | None:
        """Count the images of the mask `broken`, bool `[n]`, that only the last doubling of steps or restarts broke.

        Returns
        -------
        int or None
            None where it is unknown: for an attack that does not iterate, for the steps of an attack that continues
            after a success, and for the restarts if there is only one.
        """
        attacked = spec.attack
        if not iterative(attacked):
            return None
        if times := self.doublings[amount][attack]:
            return int((broken & (self.doubling[amount][attack] == times)).sum())
        if (amount == "steps" and not tells(attacked)) or (amount == "restarts" and attacked.restarts < 2):
            return None
        share = self.passes[attack] / max(self.longest[attack], 1) if amount == "steps" else self.restart[attack]
        return int((broken & self._first(attack) & (share > 0.5)).sum())

    def falling(self, attack: int, amount: Amount, broken: np.ndarray, bound: float) -> bool:
        """Return whether an attack still broke images near its end, so that a doubling would break more than `bound`.

        An attack may need half of its steps to cross the ball, so only the last quarter of the steps counts. If the
        chance to break at step t is proportional to 1/t, the next doubling breaks log(2) / log(4/3) times as many
        images as that quarter.
        """
        if amount == "restarts":
            return True
        share = self.passes[attack, broken & self._first(attack)] / max(self.longest[attack], 1)
        told = bool((share < 1).any())  # otherwise the attack may have used all its steps in spite of successes
        return told and NEXT * int((share > 0.75).sum()) > bound

    def _first(self, attack: int) -> np.ndarray:
        """Return a mask of the images that no doubling broke, bool `[n]`."""
        mask: np.ndarray = (self.doubling["steps"][attack] == 0) & (self.doubling["restarts"][attack] == 0)
        return mask


def bound(robust: int) -> float:
    """Return how many images the last doubling of a converged attack may have broken, out of `robust` robust ones.

    Each doubling breaks fewer images than the one before, so all further ones together break about as many as the
    last. Robust accuracy is then too high by about 1 % of itself, half of the difference between AutoAttack's recipes.
    """
    return max(FEW, SHARE * robust)


def iterative(attack: Any) -> bool:
    """Return whether an attack iterates: it takes more than one step or query."""
    return any(getattr(attack, name, 1) > 1 for name in BUDGETS)


def tells(attack: Any) -> bool:
    """Return whether an attack stops at a broken image, so that its forward passes say when it was broken."""
    on = not getattr(attack, "keep", True) or getattr(attack, "minimise", False)
    return bool(attack.stops and not on and getattr(attack, "early_stop", True))


def doubles(attack: Any) -> bool:
    """Return whether an attack may be doubled without being asked to: not if queries are what the threat limits."""
    return iterative(attack) and attack.access == "gradient"


def doubled(spec: AttackSpec, steps: int, restarts: int) -> AttackSpec:
    """Return the attack with steps and restarts doubled that many times; its random numbers depend on neither."""
    if not steps and not restarts:
        return spec
    more = {name: getattr(spec.attack, name) * 2**steps for name in BUDGETS if hasattr(spec.attack, name)}
    return AttackSpec(spec.text, replace(spec.attack, **more, restarts=spec.attack.restarts * 2**restarts))


def remedy(spec: AttackSpec, amount: Amount, times: int) -> str:
    """Return the setting to increase and its next value, like `steps=400`."""
    name = amount if amount == "restarts" else next(n for n in BUDGETS if getattr(spec.attack, n, 1) > 1)
    return f"{name}={getattr(spec.attack, name) * 2 ** (times + 1)}"
