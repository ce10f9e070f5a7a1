"""State of a training run on the host, its result, and its early endings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flax import nnx

from advbench.defenses.metrics import Record


class Diverged(ArithmeticError):
    """The loss, a gradient or a weight is not finite."""


class Stopped(Exception):
    """Stopped by signal `signal`, after the state was saved.

    Parameters
    ----------
    signal : int
        Number of the signal.
    step : int
        Number of the last step.
    """

    def __init__(self, signal: int, step: int):
        super().__init__(f"stopped by signal {signal} after step {step}")
        self.signal = signal


@dataclass
class Fitted:
    """Result of training.

    Parameters
    ----------
    module : nnx.Module
        Network with its best weights.
    best : Record
        Validation record of these weights.
    history : list[dict[str, Any]]
        Validation record of every epoch.
    seconds : float
        Seconds spent training, over all resumed parts.
    """

    module: nnx.Module
    best: Record
    history: list[dict[str, Any]]
    seconds: float


@dataclass
class TrainingState:
    """State of a run on the host, all of it JSON; saved with every checkpoint.

    Parameters
    ----------
    step : int, default 0
        Steps taken.
    slower : float, default 1.0
        Factor on the learning rate, halved by every roll-back.
    rollbacks : int, default 0
        Roll-backs after catastrophic overfitting.
    best : dict[str, Any], optional
        Validation record of the best weights.
    history : list[dict[str, Any]], optional
        Validation record of every epoch.
    seconds : float, default 0.0
        Seconds spent training.
    """

    step: int = 0
    slower: float = 1.0
    rollbacks: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
