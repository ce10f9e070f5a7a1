"""What can be said of a model that only answers queries, by asking few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from advbench.core.flag import Flag
from advbench.preflight.classes import extra_outputs, near_chance, single_logit
from advbench.preflight.made import Finding, NotMade, flags_of

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

CHECKS: Final = {
    "labels_only": "answers are scores, not only labels",
    "rounded_scores": "scores are not rounded",
    "constant_outputs": "answers depend on the image",
    "extra_outputs": "there are no more outputs than classes",
    "single_logit": "there is a score for each class",
    "near_chance": "clean accuracy is above chance",
}
"""What is asked of such a model, by the name of the flag that is raised when it is not so."""


def queries_only(access: str) -> Flag:
    """The note on every model without a gradient."""
    return Flag(
        name="queries_only",
        level="note",
        evidence={"access": access},
        message="gradients can't be had, so checks for masked ones were left out; "
        "attacks with gradients could well break more",
    )


def examine_answers(
    model: LoadedModel,
    logits: NDArray[Any],
    labels: NDArray[Any],
    rounded: float,
    classes: int,
    *,
    allow_extra_outputs: bool = False,
) -> list[Flag]:
    """Look at the answers to a few clean images.

    Parameters
    ----------
    model : LoadedModel
        Its `access` is score or decision.
    logits, labels : np.ndarray
        `[n, K]`, and the true classes `[n]`.
    rounded : float
        The step to which scores are rounded; 0 where they are not.
    classes : int
        Of the data.
    allow_extra_outputs : bool
        Whether it is meant that there are more outputs.

    Returns
    -------
    list of Flag
        `invalid` where no number of this model would mean anything, `note` where it may still.
    """
    labels_alone = model.access == "decision"
    flags: list[Finding] = [queries_only(model.access)]
    if labels_alone:
        message = "the target answers with labels alone: only attacks by decisions can be used"
        flags.append(Flag(name="labels_only", level="note", evidence={}, message=message))
        flags.append(NotMade(("rounded_scores",), "there are no scores"))
    if rounded:
        message = f"scores are rounded to {rounded:g}, which hides small changes from attacks by scores"
        flags.append(Flag(name="rounded_scores", level="note", evidence={"step": rounded}, message=message))
    n, outputs = logits.shape
    if n == 1:
        flags.append(NotMade(("constant_outputs",), "there is but one image"))
    elif (logits == logits[0]).all():
        message = f"all {n} images give the same answer: the input is not used, or not understood"
        flags.append(Flag(name="constant_outputs", level="invalid", evidence={"n": n}, message=message))
    flags.append(extra_outputs(outputs, classes, allowed=allow_extra_outputs))
    flags.append(single_logit(logits, labels_alone))
    advice = "the order of classes, `pixels` in a target file, and --input-layout"
    flags.append(near_chance(int((logits.argmax(1) == labels).sum()), n, classes, advice))
    return flags_of(flags)
