"""Measurement of accuracies from outcomes of images, with bounds that hold at every stopping time."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

from advbench.gating.rules import Rule
from advbench.gating.sequence import METHOD, bounds
from advbench.gating.verdict import (
    Measured,
    Place,
    Verdict,
)


@dataclass(frozen=True)
class RuleInstance:
    """A rule of this gate: its name, its place in the configuration, and its share of the error.

    Parameters
    ----------
    rule : Rule
        The rule.
    threat : str or None
        Threat model, like "linf 8/255".
    place : Place or None
        File and line.
    error : float
        Share of the error rate.
    """

    rule: Rule
    threat: str | None
    place: Place | None
    error: float

    @property
    def name(self) -> str:
        """Unique name in the gate, like `min_class linf 8/255 cat`."""
        return " ".join(filter(None, (self.rule.kind, self.threat, self.rule.class_name)))


class Sample(NamedTuple):
    """Outcomes of the images drawn so far, and the labels of the whole population, in the order drawn.

    Parameters
    ----------
    good : np.ndarray
        bool `[seen]`.
    labels : np.ndarray
        int `[population]`.
    classes : tuple[str, ...]
        Names of the classes.
    """

    good: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


class Measurement(NamedTuple):
    """Measurement, its class, and the verdict if it is certain.

    Parameters
    ----------
    measured : Measured
        Proportion with its bounds.
    certain : Verdict or None
        Verdict, None while uncertain.
    class_name : str, optional
        Class of the measurement.
    """

    measured: Measured
    certain: Verdict | None
    class_name: str | None = None


def measured(asked: RuleInstance, evidence: Sample) -> Measurement:
    """Measure the accuracy that a rule is about.

    Parameters
    ----------
    asked : RuleInstance
        The rule, of any kind but `max_drop`.
    evidence : Sample
        Outcomes so far.

    Returns
    -------
    Measurement
        Accuracy with its bounds.
    """
    return _READERS[asked.rule.kind](asked, evidence)


def _overall(asked: RuleInstance, evidence: Sample) -> Measurement:
    good, population = evidence.good, len(evidence.labels)
    return _read(int(good.sum()), len(good), population, asked, asked.error)


def _one_class(asked: RuleInstance, evidence: Sample) -> Measurement:
    assert asked.rule.class_name is not None  # noqa: S101 - a rule about a class names it
    number = evidence.classes.index(asked.rule.class_name)
    return _of_class(number, asked, evidence, asked.error)


def _worst_class(asked: RuleInstance, evidence: Sample) -> Measurement:
    """Read all classes at once, each with its share of the error; the bounds are those of the least accuracy."""
    numbers = np.unique(evidence.labels).tolist()
    readings = [_of_class(number, asked, evidence, asked.error / len(numbers)) for number in numbers]
    worst = min(readings, key=lambda reading: (reading.measured.n == 0, reading.measured.value))
    low = min(reading.measured.low for reading in readings)
    high = min(reading.measured.high for reading in readings)
    certain: Verdict | None = None
    if all(reading.certain == "pass" for reading in readings):
        certain = "pass"
    elif failing := [reading for reading in readings if reading.certain == "fail"]:
        certain, worst = "fail", min(failing, key=lambda reading: reading.measured.value)
    measured = worst.measured.model_copy(update={"low": low, "high": high, "level": 1 - asked.error})
    return Measurement(measured, certain, worst.class_name)


def _of_class(number: int, asked: RuleInstance, evidence: Sample, error: float) -> Measurement:
    """Read one class; within a class the order is as random as in the whole."""
    good, among = evidence.good, evidence.labels == number
    drawn = among[: len(good)]
    reading = _read(int(good[drawn].sum()), int(drawn.sum()), int(among.sum()), asked, error)
    return reading._replace(class_name=evidence.classes[number])


def _read(correct: int, n: int, population: int, asked: RuleInstance, error: float) -> Measurement:
    threshold = asked.rule.threshold
    low, high = bounds(correct, n, population, error, float(threshold))
    least = ceil(threshold * population)  # exact: a fraction
    certain: Verdict | None = "pass" if low >= least else "fail" if high < least else None
    measured = Measured(
        value=correct / n if n else 0.0,
        low=low / population,
        high=high / population,
        n=n,
        correct=correct,
        population=population,
        level=1 - error,
        method=METHOD,
    )
    return Measurement(measured, certain)


_READERS = {"min_clean": _overall, "min_robust": _overall, "min_class": _one_class, "min_worst_class": _worst_class}
