"""Decisions on rules from outcomes of images: pass or fail once the bounds are certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

from advbench.core.flag import Flag
from advbench.evaluation.paired import Difference, holm
from advbench.gating.rules import Rule
from advbench.gating.sequence import METHOD, bounds
from advbench.gating.verdict import (
    Measured,
    Outcome,
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


def decide(asked: RuleInstance, evidence: Sample) -> tuple[Outcome, bool]:
    """Decide a rule about an accuracy.

    Parameters
    ----------
    asked : RuleInstance
        The rule.
    evidence : Sample
        Outcomes so far.

    Returns
    -------
    tuple[Outcome, bool]
        Outcome, inconclusive while uncertain, and whether it is final.
    """
    reading = _READERS[asked.rule.kind](asked, evidence)
    m, threshold = reading.measured, asked.rule.threshold
    where = f" for class {reading.class_name}" if reading.class_name else ""
    found = f"{m.value:.1%} [{m.low:.1%}, {m.high:.1%}]{where} on {m.n:,} of {m.population:,} images"
    words = {"pass": "is at least", "fail": "is below", None: "is not yet known to be on one side of"}
    outcome = _outcome(
        asked,
        reading.certain or "inconclusive",
        f"{_WHAT[asked.rule.kind]} {found} {words[reading.certain]} {percent(float(threshold))}",
        measured=m,
        class_name=reading.class_name,
    )
    return outcome, reading.certain is not None


def compare(
    asked: Sequence[RuleInstance], pairs: Sequence[tuple[np.ndarray, np.ndarray]], population: int
) -> list[Outcome]:
    """Decide the rules about drops, after every image of the baseline was attacked: the only test of them.

    A drop is certain if the whole interval of the change in the population, which is exact, lies on one side of it; for
    the whole population the count decides. To fail, losses must also be significant: exact McNemar test, Holm
    correction over these rules.

    Parameters
    ----------
    asked : Sequence[RuleInstance]
        Rules of kind `max_drop`.
    pairs : Sequence[tuple[np.ndarray, np.ndarray]]
        For each rule the outcomes before and now, bool `[n]` each.
    population : int
        Number of images in the population.

    Returns
    -------
    list[Outcome]
        Outcome of each rule.
    """
    found = [Difference.of(*pair, _level(rule.error), population) for rule, pair in zip(asked, pairs, strict=True)]
    adjusted = holm([difference.p for difference in found])
    error = sum(rule.error for rule in asked)  # of the family
    return [_drop(a, d, p < error, population) for a, d, p in zip(asked, found, adjusted, strict=True)]


def _level(error: float) -> float:
    """Return the interval's level: each side has the whole error, since both can't be wrong at once."""
    return max(1 - 2 * error, 0.5)


def trusted(bad: Sequence[Flag], allowed: Sequence[str], place: Place | None) -> Outcome:
    """Decide the rule of every gate: no finding invalidates its numbers, except for allowed ones.

    Parameters
    ----------
    bad : Sequence[Flag]
        Findings of level "invalid" that are not allowed.
    allowed : Sequence[str]
        Names of allowed findings.
    place : Place or None
        File and line of the allowed findings.

    Returns
    -------
    Outcome
        Pass or invalid.
    """
    said = {flag.name: f"{flag.name}: {flag.message}" for flag in bad}
    but = f", but for what is allowed ({', '.join(allowed)})" if allowed else ""
    return Outcome(
        rule="flags",
        kind="flags",
        verdict="invalid" if bad else "pass",
        threat=None,
        threshold=None,
        measured=None,
        message="; ".join(said.values()) or f"nothing was found that makes the numbers worthless{but}",
        place=place,
    )


def unknown_yet(asked: RuleInstance, why: str, verdict: Verdict = "inconclusive") -> Outcome:
    """Return the outcome of a rule without any measurement.

    Parameters
    ----------
    asked : RuleInstance
        The rule.
    why : str
        Reason, for the message.
    verdict : Verdict, default 'inconclusive'
        Verdict of the outcome.

    Returns
    -------
    Outcome
        The outcome.
    """
    return _outcome(asked, verdict, f"{_WHAT[asked.rule.kind]} was not measured: {why}")


def percent(share: float) -> str:
    """Format a share as a percentage with as few digits as needed.

    Parameters
    ----------
    share : float
        Fraction, usually in [0, 1].

    Returns
    -------
    str
        Text like `40%` or `2.5%`.

    Examples
    --------
    >>> percent(0.025)
    '2.5%'
    """
    return f"{100 * share:.10g}%"


def _drop(asked: RuleInstance, found: Difference, significant: bool, population: int) -> Outcome:
    most = float(asked.rule.threshold)
    if found.n == population:  # the whole population: no sampling error, counts decide exactly
        small = found.lost - found.won <= asked.rule.threshold * found.n
        large = not small
    else:
        small, large = found.low >= -most, found.high < -most
    verdict: Verdict = "pass" if small else "fail" if large and significant else "inconclusive"
    words = {"pass": "no drop of more than", "fail": "a drop of more than", "inconclusive": "not certain against"}
    message = (
        f"{_WHAT['max_drop']} changed by {found.change:+.1%} [{found.low:+.1%}, {found.high:+.1%}] on the baseline's "
        f"{found.n:,} images ({found.lost} lost, {found.won} won, p {found.p:.2g}): {words[verdict]} {percent(most)}"
    )
    return _outcome(asked, verdict, message, difference=found)


def _outcome(
    asked: RuleInstance,
    verdict: Verdict,
    message: str,
    *,
    measured: Measured | None = None,
    difference: Difference | None = None,
    class_name: str | None = None,
) -> Outcome:
    return Outcome(
        rule=asked.name,
        kind=asked.rule.kind,
        verdict=verdict,
        threat=asked.threat,
        threshold=float(asked.rule.threshold),
        measured=measured,
        difference=difference,
        class_name=class_name or asked.rule.class_name,
        message=message,
        place=asked.place,
    )


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
_WHAT = {
    "min_clean": "clean accuracy",
    "min_robust": "robust accuracy",
    "min_class": "robust accuracy",
    "min_worst_class": "the least robust accuracy of a class",
    "max_drop": "robust accuracy",
}
