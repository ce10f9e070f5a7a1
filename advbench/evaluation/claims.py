"""The checks of `verify`, one per claim of a result; each yields a line for everything that does not hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np

from advbench.core.lazy import content_digest
from advbench.core.names import number
from advbench.evaluation.result import (
    AttackReport,
    Rate,
    Result,
    Row,
)
from advbench.evaluation.tally import AdversarialImages

PART = 1 << 26  # bytes of float64 images that are measured at once
SLACK = 1e-6  # pixel units; for eps above 1, a millionth of eps
TIE = 1e-5  # of the largest logit: another batch shape may tip a prediction that is this close
Z2 = 3.841458820694124  # square of the normal quantile at 0.975


@dataclass(frozen=True)
class Evidence:
    """A stored result with its images, and what was recomputed from them."""

    result: Result
    images: AdversarialImages
    clean: Any  # uint8 [n, H, W, C], in the order of the rows
    labels: np.ndarray  # int32 [n]
    digest: str  # of the model
    logits: np.ndarray  # float64 [n, K], on the clean images
    logits_adv: np.ndarray  # float64 [b, K], on the adversarial ones

    @property
    def broken(self) -> list[tuple[int, Row]]:
        """Position and row of every adversarial image, in the order of the images."""
        return broken_rows(self.result)


def broken_rows(result: Result) -> list[tuple[int, Row]]:
    """Return position and row of every image that an attack broke, in the order of the images."""
    rows = [(at, row) for at, row in enumerate(result.rows) if row.broken_by not in (None, "clean")]
    return sorted(rows, key=lambda pair: pair[1].index)


def _inputs(e: Evidence) -> Iterator[str]:
    if e.digest != e.result.model.digest:
        yield f"the model has digest {e.digest}, expected {e.result.model.digest}"
    actual = content_digest(e.clean, e.labels)
    if actual != e.result.data.digest:
        yield f"the clean images and labels have sha256 {actual}, expected {e.result.data.digest}"
    for row, label in zip(e.result.rows, e.labels.tolist(), strict=True):
        if row.label != label:
            yield f"image {row.index}: the label is {label}, not {row.label}"


def _threat(e: Evidence) -> Iterator[str]:
    threat = e.result.threat
    try:
        exact = Fraction(threat.eps_exact)
        if not (number(threat.eps) == exact and float(exact) == threat.eps_value):
            yield f"eps is {threat.eps}, {threat.eps_exact} and {threat.eps_value} at once"
    except (ValueError, ZeroDivisionError):
        yield f"eps {threat.eps!r} is not a number"
    if threat.norm not in SIZES:
        yield f"unknown norm {threat.norm!r}"


SIZES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linf": lambda d: np.abs(d).max(1),
    "l2": lambda d: np.sqrt((d * d).sum(1)),
    "l1": lambda d: np.abs(d).sum(1),
    "l0": lambda d: (np.abs(d) > SLACK).sum(1).astype(float),
    "any": lambda d: np.abs(d).max(1),
}


def _geometry(e: Evidence) -> Iterator[str]:
    """Check ball, pixel range and distance of every adversarial image."""
    if not e.broken or e.result.threat.norm not in SIZES:
        return
    step = max(1, PART // (8 * math.prod(e.clean.shape[1:])))
    for at in range(0, len(e.broken), step):
        some, x_adv = e.broken[at : at + step], e.images.x_adv[at : at + step]
        yield from _lengths(e, some, e.clean[[place for place, _ in some]], x_adv)


def _lengths(e: Evidence, some: list[tuple[int, Row]], clean: np.ndarray, x_adv: np.ndarray) -> Iterator[str]:
    pixels = x_adv.reshape(len(some), -1).astype(np.float64)
    sizes = SIZES[e.result.threat.norm](pixels - clean.reshape(len(some), -1) / 255.0)
    eps = e.result.threat.eps_value
    for (_, row), x, size in zip(some, pixels, sizes.tolist(), strict=True):
        slack = SLACK * max(1.0, eps)
        if not size <= eps + slack:
            yield f"image {row.index}: distance {size:.9g} exceeds eps {eps:.9g}"
        if not (x.min() >= -SLACK and x.max() <= 1 + SLACK):
            yield f"image {row.index}: pixels span [{x.min():.9g}, {x.max():.9g}], outside [0, 1]"
        if row.distance is None or not abs(row.distance - size) <= slack:
            yield f"image {row.index}: distance {size:.9g}, but the result says {row.distance}"


def _clean_predictions(e: Evidence) -> Iterator[str]:
    for row, logits in zip(e.result.rows, e.logits, strict=True):
        if not _agrees(logits, row.clean_prediction):
            yield f"image {row.index}: clean prediction {_predicted(logits)}, not {row.clean_prediction}"


def _adversarial_predictions(e: Evidence) -> Iterator[str]:
    """Check that every adversarial image is misclassified as its row says."""
    for (_, row), logits in zip(e.broken, e.logits_adv, strict=True):
        if row.prediction == row.label:
            yield f"image {row.index}: broken by {row.broken_by}, but predicted as {row.label}, its label"
        if not _agrees(logits, row.prediction):
            yield f"image {row.index}: adversarial prediction {_predicted(logits)}, not {row.prediction}"
        elif row.margin is not None:
            margin = np.delete(logits, row.label).max() - logits[row.label]
            if abs(margin - row.margin) > 10 * TIE * max(1.0, np.abs(logits).max()):
                yield f"image {row.index}: margin {margin:.6g}, not {row.margin:.6g}"


def _predicted(logits: np.ndarray) -> int | None:
    return int(logits.argmax()) if np.isfinite(logits).all() else None


def _agrees(logits: np.ndarray, recorded: int | None) -> bool:
    """Return whether the recorded prediction has the largest logit, up to a tie; None records logits not finite."""
    if recorded is None or not np.isfinite(logits).all():
        return recorded is None and not np.isfinite(logits).all()
    return recorded in range(len(logits)) and bool(logits.max() - logits[recorded] <= TIE * np.abs(logits).max())


def ties(e: Evidence) -> int:
    """Count predictions that differ from the record only by a tie, which were accepted."""
    pairs = [(logits, row.clean_prediction) for row, logits in zip(e.result.rows, e.logits, strict=True)]
    pairs += [(logits, row.prediction) for (_, row), logits in zip(e.broken, e.logits_adv, strict=True)]
    return sum(_predicted(logits) != recorded and _agrees(logits, recorded) for logits, recorded in pairs)


def _rows(e: Evidence) -> Iterator[str]:
    """Check that each row is consistent in itself."""
    order = [attack.spec for attack in e.result.attacks]
    for row in e.result.rows:
        by = [name for name in (row.broken_by, *row.also_broken_by) if name is not None]
        clean_wrong = row.clean_prediction != row.label
        if row.robust != (not by) or clean_wrong != (by == ["clean"]):
            yield f"image {row.index}: robust {row.robust}, broken by {by}, clean {row.clean_prediction} of {row.label}"
        if by != ["clean"] and by != [name for name in order if name in by]:
            yield f"image {row.index}: broken by {by}, which are not attacks of this result in their order"
        if row.robust and not row.finite:
            yield f"image {row.index}: robust, though outputs were not finite"


def _totals(e: Evidence) -> Iterator[str]:
    """Check that every total equals the count of its rows."""
    result = e.result
    fell = [{row.broken_by, *row.also_broken_by} for row in result.rows]
    right = [row.clean_prediction == row.label for row in result.rows]
    counts = {
        "images": (result.data.n, len(fell)),
        "clean": (result.clean.correct, sum(right)),
        "robust": (result.robust.correct, sum(row.robust for row in result.rows)),
        "forwards": (sum(attack.forwards for attack in result.attacks), sum(row.forwards for row in result.rows)),
        "gradients": (sum(attack.gradients for attack in result.attacks), sum(row.gradients for row in result.rows)),
    }
    so_far: set[str | None] = {"clean"}
    for attack in result.attacks:
        so_far.add(attack.spec)
        counts[f"after {attack.spec}"] = (attack.after.correct, sum(not (by & so_far) for by in fell))
        if attack.alone:
            left = sum(attack.spec not in by and ok for by, ok in zip(fell, right, strict=True))
            counts[f"{attack.spec} alone"] = (attack.alone.correct, left)
    for what, (claimed, counted) in counts.items():
        if claimed != counted:
            yield f"{what}: {claimed} claimed, {counted} counted"
    for attack in result.attacks:
        claimed, undone = attack.claimed or 0, attack.undone or 0
        if not claimed - attack.broke <= undone <= min(claimed, attack.tried - attack.broke):
            yield f"{attack.spec}: {undone} of {claimed} claims rejected, with {attack.broke} of {attack.tried} broken"


def _intervals(e: Evidence) -> Iterator[str]:
    """Check Wilson bounds: they are the roots p of n (accuracy - p)^2 = z^2 p (1 - p), by their sum and product."""
    rates = {"clean": e.result.clean, "robust": e.result.robust}
    for attack in e.result.attacks:
        rates[f"after {attack.spec}"] = attack.after
        if attack.alone:
            rates[f"{attack.spec} alone"] = attack.alone
    for what, rate in rates.items():
        if rate.n != len(e.result.rows):
            yield f"{what}: of {rate.n} images, not {len(e.result.rows)}"
        elif not _is_wilson(rate):
            yield f"{what}: {rate.accuracy} in [{rate.low}, {rate.high}] is not {rate.correct} of {rate.n}"


def _is_wilson(rate: Rate) -> bool:
    p, n = rate.correct / rate.n, rate.n
    wanted = (p, (2 * n * p + Z2) / (n + Z2), n * p * p / (n + Z2))
    found = (rate.accuracy, rate.low + rate.high, rate.low * rate.high)
    return rate.low <= rate.accuracy <= rate.high and np.allclose(found, wanted, rtol=0, atol=1e-9)


def _undone(undone: int, claimed: int) -> bool:
    """Return whether the judge rejects more than a tenth of claimed successes, at 97.5 % by the exact binomial tail."""
    tail = sum(comb(claimed, k) * 0.1**k * 0.9 ** (claimed - k) for k in range(undone, claimed + 1))
    return undone >= 5 and tail < 0.025


def _verdict(e: Evidence) -> Iterator[str]:
    """Check that everything that makes a result invalid is flagged."""
    needed = {
        "nonfinite_outputs": any(not row.finite for row in e.result.rows),
        "proposal_out_of_bounds": any(attack.out_of_bounds for attack in e.result.attacks),
        "undone_successes": any(_undone(attack.undone or 0, attack.claimed or 0) for attack in e.result.attacks),
    }
    flagged = {flag.name for flag in e.result.flags if flag.level == "invalid"}
    needed["under_converged"] = any(_moving(attack, e.result.robust.correct) for attack in e.result.attacks)
    for name, applies in needed.items():
        if applies and name not in flagged:
            yield f"the flag {name} is missing"


def _moving(attack: AttackReport, standing: int) -> bool:
    """Return whether an attack's last doubling broke more than 1 % of the robust images, and more than two."""
    found = attack.convergence
    if found is None or not standing:
        return False
    pairs = ((found.doublings, found.late_steps), (found.restart_doublings, found.late_restarts))
    return any(times and (late or 0) > max(2, standing / 100) for times, late in pairs)


def _completeness(e: Evidence) -> Iterator[str]:
    """Check that skipped work is named, and that no attack takes credit for images it found no start for."""
    result = e.result
    if result.complete != (not result.skipped):
        yield f"complete is {result.complete}, and {len(result.skipped)} attacks were cut short"
    unstarted = {s.spec: s.images for s in result.skipped if s.reason == "start"}
    noted = {
        k: v for flag in result.flags if flag.name == "no_start" for k, v in flag.evidence.get("images", {}).items()
    }
    if unstarted != noted:
        yield f"the flag no_start says {noted}, skipped {unstarted}"
    for attack in result.attacks:
        images = unstarted.get(attack.spec, 0)
        left = sum(attack.spec not in (row.broken_by, *row.also_broken_by) for row in result.rows)
        if images > min(attack.tried, left):
            yield f"{attack.spec}: no start on {images} images, of which {min(attack.tried, left)} can be"
        if images and attack.alone:
            yield f"{attack.spec}: an accuracy alone, though it had no start on {images} images"


CHECKS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "inputs": _inputs,
    "threat": _threat,
    "geometry": _geometry,
    "clean predictions": _clean_predictions,
    "adversarial predictions": _adversarial_predictions,
    "rows": _rows,
    "totals": _totals,
    "intervals": _intervals,
    "verdict": _verdict,
    "completeness": _completeness,
}
