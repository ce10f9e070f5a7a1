"""What a run remembers, what it leaves, and how else it may end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flax import nnx

from advbench.defenses.metrics import Record


class Diverged(ArithmeticError):
    """The loss, a gradient or a weight is not finite."""


class Stopped(Exception):
    """Asked to stop by signal `signal`, after the state was saved."""

    def __init__(self, signal: int, step: int):
        super().__init__(f"stopped by signal {signal} after step {step}")
        self.signal = signal


@dataclass
class Fitted:
    """What training leaves: the network with its best weights, how good these are, a record of every epoch."""

    module: nnx.Module
    best: Record
    history: list[dict[str, Any]]
    seconds: float  # spent training, over all resumed parts


@dataclass
class Ledger:
    """What the host remembers of a run, all of it JSON; saved with every checkpoint."""

    step: int = 0
    slower: float = 1.0  # factor on the learning rate, halved by every roll-back
    rollbacks: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
