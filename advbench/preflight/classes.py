"""Checks of a model's outputs against the classes of the data, and of its accuracy against chance."""

from __future__ import annotations

import numpy as np

from advbench.core.flag import Flag
from advbench.core.intervals import at_least
from advbench.preflight.made import Finding, NotMade

EXTRA = "extra_outputs"
SINGLE = "single_logit"
ALLOW = "--allow-extra-outputs"
LUCK = 0.05  # probability from which an accuracy may be that of a guess


def extra_outputs(outputs: int, classes: int | None, *, allowed: bool) -> Finding:
    """Flag a model with more outputs than classes, which is rarely intended: features may be taken for logits.

    Parameters
    ----------
    outputs : int
        Number of logits, without one by which the model rejects images.
    classes : int or None
        Number of classes of the data.
    allowed : bool
        The user accepts it, for instance for a network with more classes than this data.

    Returns
    -------
    Flag, NotMade or None
        Flag of level note if `allowed`, else invalid.
    """
    if classes is None:
        return NotMade((EXTRA,), "the number of classes of the data is unknown")
    if outputs <= classes:
        return None
    why = (
        "the others count as classes without images"
        if allowed
        else f"choose another output with --logits, or accept them as classes without images with {ALLOW}"
    )
    return Flag(
        name=EXTRA,
        level="note" if allowed else "invalid",
        evidence={"outputs": outputs, "classes": classes},
        message=f"the model has more outputs than the data has classes, {outputs} for {classes}: {why}",
    )


def single_logit(logits: np.ndarray, labels_alone: bool = False) -> Finding:
    """Flag a model of two classes with a single output z, which counts as the logits `[0, z]`.

    Parameters
    ----------
    logits : np.ndarray
        Logits `[n, K]`.
    labels_alone : bool
        The logits only encode predicted labels.

    Returns
    -------
    Flag or None
        Level invalid if the output looks like a probability, else a note.
    """
    if labels_alone or logits.shape[1] != 2 or (logits[:, 0] != 0).any():
        return None
    z = logits[:, 1]
    if 0 <= z.min() < z.max() <= 1:
        return Flag(
            name=SINGLE,
            level="invalid",
            evidence={"smallest": float(z.min()), "largest": float(z.max())},
            message="the model's single output is always in [0, 1], a probability where a logit is needed: "
            "remove the sigmoid",
        )
    return Flag(
        name=SINGLE,
        level="note",
        evidence={},
        message="the model has a single output z, which is read as the logits [0, z] of two classes: "
        "the prediction is class 1 if z is above 0",
    )


def near_chance(right: int, n: int, classes: int, advice: str) -> Finding:
    """Flag a clean accuracy hardly above chance, which is 1 over the number of classes.

    Parameters
    ----------
    right, n : int
        Images classified correctly, and all images. The check is not made if guesses would reach `right` with a
        probability of 5 % or more.
    classes : int
        Number of classes of the data, whatever the number of outputs.
    advice : str
        Causes to check, for the message.

    Returns
    -------
    Flag, NotMade or None
        A note if accuracy is at most 1.5 times chance.
    """
    chance, accuracy = 1 / classes, right / n
    if accuracy <= 1.5 * chance:
        return Flag(
            name="near_chance",
            level="note",
            evidence={"accuracy": accuracy, "n": n, "chance": chance},
            message=f"clean accuracy is {accuracy:.1%}, near chance: check {advice}",
        )
    if at_least(right, n, chance) >= LUCK:
        why = f"{right} of {n} images correct, for {classes} classes, may be chance: use more images"
        return NotMade(("near_chance",), why)
    return None
