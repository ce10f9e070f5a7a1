"""A model's outputs, held against the classes of the data, and its accuracy, held against chance."""

from __future__ import annotations

import numpy as np

from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson
from advbench.preflight.made import Finding, NotMade

EXTRA = "extra_outputs"
SINGLE = "single_logit"
ALLOW = "--allow-extra-outputs"


def extra_outputs(outputs: int, classes: int | None, *, allowed: bool) -> Finding:
    """A flag where there are more outputs than classes, which is rarely meant: features look like logits.

    Parameters
    ----------
    outputs : int
        Logits of the model, without one by which it rejects.
    classes : int or None
        Of the data.
    allowed : bool
        Whether that is known and meant, as of a network for more classes than these data have.
    """
    if classes is None:
        return NotMade((EXTRA,), "the number of classes of the data was not told")
    if outputs <= classes:
        return None
    why = (
        "the others count as classes that no image has"
        if allowed
        else (f"is another output the logits (--logits)? {ALLOW} takes the others for classes that no image has")
    )
    return Flag(
        name=EXTRA,
        level="note" if allowed else "invalid",
        evidence={"outputs": outputs, "classes": classes},
        message=f"the model gives more outputs than classes: {outputs} for the {classes} of the data; {why}",
    )


def single_logit(logits: np.ndarray, labels_alone: bool = False) -> Finding:
    """A flag where a model of two classes gives one logit, which counts as `[0, z]`.

    Parameters
    ----------
    logits : np.ndarray
        `[n, K]`.
    labels_alone : bool
        Whether they only stand for labels.
    """
    if labels_alone or logits.shape[1] != 2 or (logits[:, 0] != 0).any():
        return None
    z = logits[:, 1]
    if 0 <= z.min() < z.max() <= 1:
        return Flag(
            name=SINGLE,
            level="invalid",
            evidence={"smallest": float(z.min()), "largest": float(z.max())},
            message="the model's one output is always in [0, 1], a probability where a logit is needed: "
            "leave out the sigmoid",
        )
    return Flag(
        name=SINGLE,
        level="note",
        evidence={},
        message="the model gives one logit z, which counts as the two classes' logits [0, z]: "
        "an image is of class 1 where z is above 0",
    )


def near_chance(right: int, n: int, classes: int, advice: str) -> Finding:
    """A note where accuracy is hardly above 1 over the number of classes.

    Parameters
    ----------
    right, n : int
        Images that are classified rightly, and all. Where so many would be right by chance in one of twenty tries,
        nothing can be said.
    classes : int
        Of the data, whatever the number of outputs.
    advice : str
        What to look at.
    """
    chance, accuracy = 1 / classes, right / n
    if accuracy <= 1.5 * chance:
        return Flag(
            name="near_chance",
            level="note",
            evidence={"accuracy": accuracy, "n": n, "chance": chance},
            message=f"clean accuracy is {accuracy:.1%}, near chance: check {advice}",
        )
    if clopper_pearson(right, n, 0.9)[0] <= chance:
        return NotMade(("near_chance",), f"{right} of {n} images right, of {classes} classes, may be chance: take more")
    return None
