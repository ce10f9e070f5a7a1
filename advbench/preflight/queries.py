"""Preflight checks of a model that only answers queries, made with few queries."""

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
"""Requirements on such a model, by the name of the flag raised if one is not met."""


def queries_only(access: str) -> Flag:
    """Build the note that every model without a gradient gets."""
    return Flag(
        name="queries_only",
        level="note",
        evidence={"access": access},
        message="the model gives no gradients: checks for gradient masking were left out, and gradient attacks might "
        "break more images",
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
    """Check the answers to a few clean images.

    Parameters
    ----------
    model : LoadedModel
        The model; its `access` is score or decision.
    logits, labels : np.ndarray
        Answers `[n, K]`, and true classes `[n]`.
    rounded : float
        Step to which scores are rounded; 0 if they are not.
    classes : int
        Number of classes of the data.
    allow_extra_outputs : bool
        Accept more outputs than classes.

    Returns
    -------
    list of Flag
        Level `invalid` if numbers of this model would be meaningless, `note` otherwise.
    """
    labels_alone = model.access == "decision"
    flags: list[Finding] = [queries_only(model.access)]
    if labels_alone:
        message = "the remote model answers with labels only: use decision attacks"
        flags.append(Flag(name="labels_only", level="note", evidence={}, message=message))
        flags.append(NotMade(("rounded_scores",), "the model gives no scores"))
    if rounded:
        message = f"scores are rounded to {rounded:g}, which hides small changes from score attacks"
        flags.append(Flag(name="rounded_scores", level="note", evidence={"step": rounded}, message=message))
    n, outputs = logits.shape
    if n == 1:
        flags.append(NotMade(("constant_outputs",), "there is only one image"))
    elif (logits == logits[0]).all():
        message = f"all {n} images give the same answer: the server ignores the input or does not understand it"
        flags.append(Flag(name="constant_outputs", level="invalid", evidence={"n": n}, message=message))
    flags.append(extra_outputs(outputs, classes, allowed=allow_extra_outputs))
    flags.append(single_logit(logits, labels_alone))
    advice = "the order of classes, `pixels` in a target file, and --input-layout"
    flags.append(near_chance(int((logits.argmax(1) == labels).sum()), n, classes, advice))
    return flags_of(flags)
