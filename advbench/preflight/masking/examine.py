"""All checks for gradient masking on one model under one threat."""

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

SAMPLE: Final = 64  # correctly classified images to use
LEAST: Final = 8  # fewest images for a check

Check = Callable[[Probe], Finding]

ANYWHERE: Final[dict[str, Check]] = {
    "unavailable_gradients": indicators.unavailable_gradients,
    "unbounded_attack_fails": signs.unbounded_attack_fails,
    "unstable_predictions": indicators.unstable_predictions,
}
"""Checks that work without a ball in which gradient attacks can be compared."""

CHECKS: Final[dict[str, Check]] = ANYWHERE | {
    "single_step_beats_iterative": signs.single_step_beats_iterative,
    "black_box_beats_gradients": signs.black_box_beats_gradients,
    "random_beats_gradients": signs.random_beats_gradients,
    "larger_eps_breaks_less": signs.larger_eps_breaks_less,
    "incomplete_optimisation": indicators.incomplete_optimisation,
    "saturated_loss": saturation.saturated_loss,
}
"""Fast checks by the name of the flag that they raise; they take seconds."""

FULL: Final[dict[str, Check]] = {
    "silent_success": indicators.silent_success,
    "transfer_beats_gradients": surrogate.transfer_beats_gradients,
    "binarization_test_fails": binarization.binarization_test_fails,
}
"""Further checks of the full examination, by the name of the flag; they take tens of seconds."""

ASKED: Final = {
    "unavailable_gradients": "there is a gradient within the ball too",
    "unbounded_attack_fails": "an attack without a perturbation limit breaks all images",
    "unstable_predictions": "the margin changes smoothly",
    "single_step_beats_iterative": "many gradient steps break what one step breaks",
    "black_box_beats_gradients": "gradient attacks break what a score attack breaks",
    "random_beats_gradients": "gradient attacks break what random images break",
    "larger_eps_breaks_less": "a larger eps breaks at least as many images",
    "incomplete_optimisation": "twice the steps break no more images",
    "saturated_loss": "the scale of the logits does not matter to the cross-entropy",
    "silent_success": "an attack that keeps only its last image finds the same",
    "transfer_beats_gradients": "gradient attacks break what transfer from a surrogate breaks",
    "binarization_test_fails": "adversarial images that exist by construction are found",
}
"""Requirements on a model, by the name of the flag raised if one is not met."""


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
    """Look for gradient masking by short attacks that contradict each other if gradients mislead.

    Parameters
    ----------
    model : LoadedModel
        The model as `load_model` returns it.
    images : np.ndarray
        Clean images, float32 `[n, H, W, C]` in [0, 1]. The first 64 that the model classifies correctly are the sample;
        with `full`, a surrogate is trained on the others.
    labels : np.ndarray
        True classes, integers `[n]`.
    threat : ThreatSpec
        The ball to search in.
    seed : int
        Seed of all random numbers.
    batch_size : int
        Most images per batch.
    full : bool
        Also train a surrogate and run the binarization test, which takes tens of seconds.
    scale_free : bool
        At least one attack of the evaluation does not depend on the scale of the logits.
    classes : int, optional
        Number of classes of the data; by default the number of outputs.

    Returns
    -------
    list of Flag
        Flags named as in `CHECKS` and `FULL`: `invalid` if robust accuracy must be lower than gradient attacks say,
        `note` if their steps or queries probably do not suffice. The note `checks_not_made` names checks that were not
        possible, for instance with too few correctly classified images, and why. Empty without findings.

    Raises
    ------
    UsageError
        When images, labels or outputs have a wrong shape, type or range.
    """
    x, y = check_data(images, labels)
    outputs, _ = check_outputs(model, x, y, classes)
    chance = 1 / (classes or outputs)
    size = min(batch_size, SAMPLE)
    predict = adaptive(model.predict)
    whole = Probe(predict, x, y, x[:0], threat.threat, seed, size, full, scale_free, chance)
    # Only the first images are searched: a model that is wrong on nearly all of them has other faults.
    head = min(len(x), 8 * SAMPLE)
    sample = np.flatnonzero(whole.logits(x[:head]).argmax(1) == y[:head])[:SAMPLE]
    wanted = CHECKS | FULL if full else CHECKS
    if len(sample) < LEAST:
        return flags_of(
            [NotMade(tuple(wanted), f"the model classifies {len(sample)} of {head} images correctly, {LEAST} needed")]
        )
    rest = np.delete(x, sample, axis=0) if full else x[:0]
    probe = Probe(predict, x[sample], y[sample], rest, threat.threat, seed, size, full, scale_free, chance)
    try:
        _ = probe.largest_gradients
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
        message=f"the model can't be differentiated ({error}): gradient attacks can't work; use score attacks",
    )
