"""All checks on one model, under one threat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from advbench.core.ambient import own_settings
from advbench.core.errors import AdvbenchError
from advbench.core.flag import Flag
from advbench.preflight.contract import check_data, check_outputs, first_line
from advbench.preflight.made import Finding, NotMade, flags_of
from advbench.preflight.masking import (
    binarization,
    indicators,
    saturation,
    signs,
    surrogate,
)
from advbench.preflight.masking.probe import Probe
from advbench.wrappers.facing import adaptive

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec

SAMPLE: Final = 64  # images that the model gets right
LEAST: Final = 8  # fewer say nothing

Check = Callable[[Probe], Finding]

ANYWHERE: Final[dict[str, Check]] = {
    "unavailable_gradients": indicators.unavailable_gradients,
    "unbounded_attack_fails": signs.unbounded_attack_fails,
    "unstable_predictions": indicators.unstable_predictions,
}
"""What needs no ball in which gradients can be followed."""

CHECKS: Final[dict[str, Check]] = ANYWHERE | {
    "single_step_beats_iterative": signs.single_step_beats_iterative,
    "black_box_beats_gradients": signs.black_box_beats_gradients,
    "random_beats_gradients": signs.random_beats_gradients,
    "larger_eps_breaks_less": signs.larger_eps_breaks_less,
    "incomplete_optimisation": indicators.incomplete_optimisation,
    "saturated_loss": saturation.saturated_loss,
}
"""Checks by the name of the flag that they raise; these take seconds."""

FULL: Final[dict[str, Check]] = {
    "silent_success": indicators.silent_success,
    "transfer_beats_gradients": surrogate.transfer_beats_gradients,
    "binarization_test_fails": binarization.binarization_test_fails,
}
"""What is added when asked for everything."""

ASKED: Final = {
    "unavailable_gradients": "there is a gradient within the ball too",
    "unbounded_attack_fails": "an attack that may change everything breaks everything",
    "unstable_predictions": "the margin changes smoothly",
    "single_step_beats_iterative": "many gradient steps break what one does",
    "black_box_beats_gradients": "gradients break what a search by scores does",
    "random_beats_gradients": "gradients break what random images do",
    "larger_eps_breaks_less": "a larger eps breaks more",
    "incomplete_optimisation": "twice the steps break no more",
    "saturated_loss": "the scale of the logits does not matter to the cross-entropy",
    "silent_success": "an attack need not keep its first success",
    "transfer_beats_gradients": "gradients break what images made on an imitation do",
    "binarization_test_fails": "adversarial images that exist by construction are found",
}
"""What is asked of a model, by the name of the flag that is raised when it is not so."""


@own_settings()
def examine_masking(
    model: LoadedModel,
    images: np.ndarray,
    labels: np.ndarray,
    threat: ThreatSpec,
    *,
    seed: int,
    batch_size: int,
    full: bool = False,
    scale_free: bool = True,
    classes: int | None = None,
) -> list[Flag]:
    """Look for gradients that hide adversarial images from attacks, by short attacks that contradict each other.

    Parameters
    ----------
    model : the model, as `load_model` gives it.
    images : clean images, float32 `[n, H, W, C]` in [0, 1]. The first 64 that the model gets right are the sample; on
        the others a surrogate is trained, when `full`.
    labels : true classes, integers `[n]`.
    threat : the ball to search in.
    seed : fixes every random number.
    batch_size : images a pass, at most.
    full : also train a surrogate, and take the binarization test; a matter of tens of seconds.
    scale_free : whether the numbers rest on at least one attack that no scale of the logits can starve.
    classes : of the data; the number of outputs, unless given.

    Returns
    -------
    list of Flag
        Named as in `CHECKS` and `FULL`: `invalid` where robust accuracy can't be what gradient attacks say, `note`
        where it is likely a matter of their budget; and the note `checks_not_made`, with the names of checks and why,
        where some could not be made, as on too few images that the model gets right. Empty where nothing was found.

    Raises
    ------
    UsageError
        In one line, when images, labels or outputs have a wrong shape, kind or range.
    """
    x, y = check_data(images, labels)
    outputs, _ = check_outputs(model, x, y, classes)
    chance = 1 / (classes or outputs)
    size = min(batch_size, SAMPLE)
    predict = adaptive(model.predict)
    whole = Probe(predict, x, y, x[:0], threat.threat, seed, size, full, scale_free, chance)
    # A model that is right nowhere near the front of the data has other troubles.
    head = min(len(x), 8 * SAMPLE)
    sample = np.flatnonzero(whole.logits(x[:head]).argmax(1) == y[:head])[:SAMPLE]
    wanted = CHECKS | FULL if full else CHECKS
    if len(sample) < LEAST:
        return flags_of(
            [NotMade(tuple(wanted), f"the model gets {len(sample)} of {head} images right, fewer than {LEAST}")]
        )
    rest = np.delete(x, sample, axis=0) if full else x[:0]
    probe = Probe(predict, x[sample], y[sample], rest, threat.threat, seed, size, full, scale_free, chance)
    try:
        _ = probe.slopes
    except AdvbenchError:
        raise
    except Exception as error:  # whatever differentiating a user's own code may raise
        others = tuple(name for name in wanted if name != "unavailable_gradients")
        return flags_of([_without_gradient(first_line(error)), NotMade(others, "the model can't be differentiated")])
    checks = wanted if probe.bounded else ANYWHERE
    left_out = tuple(name for name in wanted if name not in checks)
    unbounded = NotMade(left_out, "there is no ball in which gradient attacks can be compared") if left_out else None
    return flags_of([*(check(probe) for check in checks.values()), unbounded])


def _without_gradient(error: str) -> Flag:
    return Flag(
        name="unavailable_gradients",
        level="invalid",
        evidence={"error": error},
        message=f"the model can't be differentiated ({error}): gradient attacks can't see it",
    )
