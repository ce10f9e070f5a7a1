"""Judge whether an attack has converged: whether more of its steps, or more of its restarts, would break more images.

Both are asked of every attack that iterates, apart from each other, by what the last doubling broke: of the steps
within a run, and of the restarts. Target classes are no restarts: there are only so many of them, and that a later
one breaks images is what they are for.
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
BUDGETS: Final = ("steps", "queries")  # the settings that say how long a run goes on
SHARE: Final = 0.01  # of the images that stand, which the last doubling may have broken
FEW: Final = 2  # images that it may have broken however few stand: one or two say nothing of the next
NEXT: Final = math.log(2) / math.log(4 / 3)  # what the next doubling breaks to what the last quarter did, see `falling`


class Phase(NamedTuple):
    """What an attack is at: a restart of so many, and how often its steps and restarts are doubled."""

    restart: int = 0  # from 0
    restarts: int = 1
    steps_doubled: int = 0  # times
    restarts_doubled: int = 0
    amount: Amount | None = None  # what was doubled last, for this run to be made


class Falls:
    """When images fell to attacks.

    Parameters
    ----------
    attacks, n : int
        How many of each.
    """

    def __init__(self, attacks: int, n: int):
        self.phases = [Phase()] * attacks  # of the runs under way
        self.longest = np.zeros(attacks, np.int64)  # passes of a run as asked for
        self.doublings: dict[Amount, list[int]] = {amount: [0] * attacks for amount in AMOUNTS}
        self.passes = np.zeros((attacks, n), np.int64)  # of its run by the time the image fell
        self.restart = np.zeros((attacks, n))  # in which it fell, over how many there were: in (0, 1]
        self.doubling: dict[Amount, np.ndarray] = {amount: np.zeros((attacks, n), np.int64) for amount in AMOUNTS}

    @classmethod
    def join(cls, parts: Sequence[Falls]) -> Falls:
        """Of the images of several, in that order."""
        joined = cls(len(parts[0].phases), 0)
        joined.longest = np.max([part.longest for part in parts], 0)
        joined.passes = np.concatenate([part.passes for part in parts], 1)
        joined.restart = np.concatenate([part.restart for part in parts], 1)
        for amount in AMOUNTS:
            joined.doubling[amount] = np.concatenate([part.doubling[amount] for part in parts], 1)
            joined.doublings[amount] = [max(t) for t in zip(*(p.doublings[amount] for p in parts), strict=True)]
        return joined

    def begin(self, attack: int, phase: Phase) -> None:
        """Say what the batches that follow belong to."""
        self.phases[attack] = phase
        for amount, times in zip(AMOUNTS, (phase.steps_doubled, phase.restarts_doubled), strict=True):
            self.doublings[amount][attack] = max(self.doublings[amount][attack], times)

    def add(self, attack: int, passes: np.ndarray, new: np.ndarray, reached: np.ndarray) -> None:
        """Note the passes that a batch cost, `[m]`, the positions `new` that fell, and the passes until each did."""
        phase = self.phases[attack]
        if phase.amount is None:
            self.longest[attack] = max(self.longest[attack], passes.max(initial=0))
        self.passes[attack, new] = reached
        self.restart[attack, new] = (phase.restart + 1) / phase.restarts
        if phase.amount:
            self.doubling[phase.amount][attack, new] = self.doublings[phase.amount][attack]

    def late(self, attack: int, spec: AttackSpec, amount: Amount, fell: np.ndarray) -> int | None:
        """How many images of the mask `fell`, `[n]`, fell only in the last doubling of steps or restarts.

        None where that can't be told: of an attack that does not iterate, of the steps of one that goes on after a
        success, and of the restarts where there is but one.
        """
        attacked = spec.attack
        if not iterative(attacked):
            return None
        if times := self.doublings[amount][attack]:
            return int((fell & (self.doubling[amount][attack] == times)).sum())
        if (amount == "steps" and not tells(attacked)) or (amount == "restarts" and attacked.restarts < 2):
            return None
        share = self.passes[attack] / max(self.longest[attack], 1) if amount == "steps" else self.restart[attack]
        return int((fell & self._first(attack) & (share > 0.5)).sum())

    def falling(self, attack: int, amount: Amount, fell: np.ndarray, bound: float) -> bool:
        """Whether images still fell at the end of an attack as asked for, so that a doubling would break too many.

        An attack may need half its steps to cross the ball: so the steps' last quarter is looked at. If the chance to
        fall after t steps goes as 1/t, the next doubling breaks log(2) / log(4/3) times as many as that quarter.
        """
        if amount == "restarts":
            return True
        share = self.passes[attack, fell & self._first(attack)] / max(self.longest[attack], 1)
        told = bool((share < 1).any())  # else the attack may have taken all its steps in spite of successes
        return told and NEXT * int((share > 0.75).sum()) > bound

    def _first(self, attack: int) -> np.ndarray:
        """Images that fell before anything was doubled, or to nothing."""
        mask: np.ndarray = (self.doubling["steps"][attack] == 0) & (self.doubling["restarts"][attack] == 0)
        return mask


def bound(standing: int) -> float:
    """How many images the last doubling of an attack may have broken where so many still stand.

    Doublings break fewer and fewer, so that those to come break about as many as the last at most: robust accuracy
    is then too high by about a hundredth of itself, half of what AutoAttack's own recipes differ by.
    """
    return max(FEW, SHARE * standing)


def iterative(attack: Any) -> bool:
    """Whether an attack has steps, or queries, that could be more."""
    return any(getattr(attack, name, 1) > 1 for name in BUDGETS)


def tells(attack: Any) -> bool:
    """Whether an image costs an attack no more passes once it fell, so that its count says when it did."""
    on = not getattr(attack, "keep", True) or getattr(attack, "minimise", False)
    return bool(attack.stops and not on and getattr(attack, "early_stop", True))


def doubles(attack: Any) -> bool:
    """Whether an attack may be doubled unasked: queries are a resource of the adversary's, gradients are not."""
    return iterative(attack) and attack.access == "gradient"


def doubled(spec: AttackSpec, steps: int, restarts: int) -> AttackSpec:
    """The attack with its steps and restarts doubled so many times; its random numbers depend on neither."""
    if not steps and not restarts:
        return spec
    more = {name: getattr(spec.attack, name) * 2**steps for name in BUDGETS if hasattr(spec.attack, name)}
    return AttackSpec(spec.text, replace(spec.attack, **more, restarts=spec.attack.restarts * 2**restarts))


def remedy(spec: AttackSpec, amount: Amount, times: int) -> str:
    """What to ask for instead, like `steps=400`."""
    name = amount if amount == "restarts" else next(n for n in BUDGETS if getattr(spec.attack, n, 1) > 1)
    return f"{name}={getattr(spec.attack, name) * 2 ** (times + 1)}"
