"""Decisions on rules from outcomes of images: pass or fail once the bounds are certain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advbench.core.flag import Flag
from advbench.evaluation.paired import Difference, holm
from advbench.gating.measure import RuleInstance, Sample, measured
from advbench.gating.verdict import (
    Measured,
    Outcome,
    Place,
    Verdict,
)


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
    reading = measured(asked, evidence)
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


_WHAT = {
    "min_clean": "clean accuracy",
    "min_robust": "robust accuracy",
    "min_class": "robust accuracy",
    "min_worst_class": "the least robust accuracy of a class",
    "max_drop": "robust accuracy",
}
