"""A model's outputs, held against the classes of the data, and its accuracy, held against chance."""

from __future__ import annotations

from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson
from advbench.preflight.made import Finding, NotMade

EXTRA = "extra_outputs"
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
