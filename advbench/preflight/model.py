"""Preflight checks of a model on a few clean images, which find faults that make robustness numbers meaningless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jax
import numpy as np
from numpy.typing import NDArray

from advbench.attacks import Randomised
from advbench.core.ambient import own_settings
from advbench.core.flag import Flag
from advbench.core.model import Model, predict
from advbench.preflight.classes import extra_outputs, near_chance, single_logit
from advbench.preflight.contract import check_data, check_outputs
from advbench.preflight.gradients import gradients
from advbench.preflight.made import Finding, NotMade, flags_of
from advbench.preflight.passes import in_batches, repeats

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

Array = NDArray[Any]

TRANSLATED: Final = {
    "translation": "the translation to JAX computes what the original runtime does",
    "straight_through": "activations are not quantised, so that gradients are exact",
}
"""Further requirements on a translated model, by the name of the flag raised if one is not met."""

CHECKS: Final = {
    "nonfinite_outputs": "every logit is finite",
    "probabilities": "outputs are logits, not probabilities",
    "log_probabilities": "outputs are logits, not log-probabilities",
    "extra_outputs": "there are no more outputs than classes",
    "single_logit": "there is a logit for each class",
    "low_precision": "logits are float32",
    "random_outputs": "the same batch gives the same logits",
    "randomised": "the model does not draw random numbers",
    "batch_dependent": "an image's logits don't depend on its batch (evaluation mode)",
    "constant_outputs": "logits depend on the image",
    "no_gradient": "the input gradient exists and is finite",
    "zero_gradients": "the input gradient of the margin is not zero",
    "saturated": "the input gradient of the cross-entropy is not lost in rounding",
    "near_chance": "clean accuracy is above chance",
    "other_input": "no other scale or layout of the input does better",
}
"""Requirements on a model, by the name of the flag raised if one is not met."""

SAME: Final = 1e-4  # of the largest logit: difference that batch size and summation order may cause
PROBE: Final = 32  # images for checks that need several passes


@own_settings()
def examine(
    model: LoadedModel,
    images: Any,
    labels: Any,
    *,
    batch_size: int = 64,
    classes: int | None = None,
    allow_extra_outputs: bool = False,
) -> list[Flag]:
    """Look for faults that make an evaluation of this model worthless, before any attack.

    Parameters
    ----------
    model : LoadedModel
        The model as `load_model` returns it.
    images : array-like
        Clean images, float32 `[n, H, W, C]` in [0, 1], n at least 1; 64 or more are best.
    labels : array-like
        True classes, integers `[n]`.
    batch_size : int
        Images per batch; the last batch is padded by repetition.
    classes : int, optional
        Number of classes of the data; by default the number of outputs.
    allow_extra_outputs : bool
        Only note that there are more outputs than classes.

    Returns
    -------
    list of Flag
        Flags named as in `CHECKS`: `invalid` if numbers of this model would be meaningless, `note` otherwise. The note
        `checks_not_made` names checks that were not possible, and why. Empty for a model without findings.

    Raises
    ------
    UsageError
        When images, labels or outputs have a wrong shape, type or range, so that nothing can be run.
    """
    x, y = check_data(images, labels)
    outputs, types = check_outputs(model, x, y, classes)
    size = min(batch_size, len(x))
    logits = in_batches(predict, model.predict, size, x)
    right = int((logits.argmax(-1) == y).sum())
    return flags_of(
        [
            _nonfinite(logits),
            _probabilities(logits, model.access),
            extra_outputs(outputs, classes, allowed=allow_extra_outputs),
            single_logit(logits),
            _precision(types),
            _random(model.predict, x[: min(size, PROBE)]),
            _randomised(model.predict),
            _batch_dependent(model.predict, x[: min(size, PROBE)]),
            _constant(x, logits),
            *gradients(model, x, y, size),
            near_chance(right, len(y), classes or outputs, "layout, normalisation and the order of labels"),
            _other_input(model.predict, x, y, right, size),
            model.compare(model, x) if model.compare else None,
        ]
    )


@own_settings()
def clean_accuracy(model: LoadedModel, images: Any, labels: Any, *, batch_size: int = 64) -> float:
    """Compute the share of images whose largest logit is the label's.

    Parameters
    ----------
    model : LoadedModel
        The model.
    images, labels : array-like
        Images float32 `[n, H, W, C]` in [0, 1], and their true classes, integers `[n]`.
    batch_size : int
        Images per batch.

    Returns
    -------
    float
        In [0, 1].
    """
    size = min(batch_size, len(images))
    return float((in_batches(predict, model.predict, size, images).argmax(-1) == labels).mean())


def _difference(a: Array, b: Array) -> float:
    """Return the largest difference over the largest magnitude; infinity if only one of two values is finite."""
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = np.nan_to_num(a, posinf=0, neginf=0), np.nan_to_num(b, posinf=0, neginf=0)
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))


def _nonfinite(logits: Array) -> Flag | None:
    bad = np.flatnonzero(~np.isfinite(logits).all(-1))
    if not len(bad):
        return None
    return Flag(
        name="nonfinite_outputs",
        level="invalid",
        evidence={"images": len(bad), "n": len(logits), "first": int(bad[0])},
        message=f"logits of {len(bad)} of {len(logits)} images are NaN or infinite: no accuracy of this model means "
        "anything; check its weights and its preprocessing",
    )


def _probabilities(logits: Array, access: str) -> Finding:
    rows = logits[np.isfinite(logits).all(-1)].astype(float)
    if access == "decision" or not len(rows):
        why = "no logits are finite" if access != "decision" else "the model answers with labels only"
        return NotMade(("probabilities", "log_probabilities"), why)
    off = float(np.abs(rows.sum(-1) - 1).max())
    if rows.min() >= 0 and rows.max() <= 1 + 1e-5 and off <= 1e-5:
        return Flag(
            name="probabilities",
            level="invalid",
            evidence={"row_sum_off_by": off},
            message="outputs are probabilities, whose gradients vanish for attacks: remove the softmax",
        )
    with np.errstate(divide="ignore"):  # logits far below 0
        off = float(np.abs(np.log(np.exp(np.minimum(rows, 1)).sum(-1))).max())
    if rows.max() <= 1e-5 and off <= 1e-4:
        return Flag(
            name="log_probabilities",
            level="note",
            evidence={"log_sum_exp_off_by": off},
            message="outputs are log-probabilities: attacks work, but lose gradients earlier than with logits",
        )
    return None


def _precision(types: frozenset[str]) -> Flag | None:
    low = sorted(types - {"float32", "float64"})
    if not low:
        return None
    return Flag(
        name="low_precision",
        level="note",
        evidence={"dtype": low[0]},
        message=f"logits are {low[0]}: rounding and ties hide small margins; evaluate in float32",
    )


def _random(model: Model, x: Array) -> Flag | None:
    """Check that logits repeat, compiled and uncompiled: compilation freezes noise that the host draws."""
    first = np.asarray(predict(model, x))
    off = max(_difference(first, np.asarray(predict(model, x))) for _ in range(2))
    few = jax.device_put(x[:2])
    if not repeats(model, few):
        off = max(off, _difference(*(np.asarray(model(few), np.float32) for _ in range(2))))
    if off <= SAME:
        return None
    return Flag(
        name="random_outputs",
        level="invalid",
        evidence={"difference": min(off, 1e30)},
        message=f"the same batch gave logits that differ by {off:.1g} of the largest: noise or dropout is on. Turn it "
        "off; if it is the defense, return advbench.attacks.Randomised(apply) and use autoattack:version=rand",
    )


def _randomised(model: Model) -> Flag | None:
    if not isinstance(model, Randomised):
        return None
    return Flag(
        name="randomised",
        level="note",
        evidence={"draws": model.draws},
        message=f"the model is randomised: attacks use the mean over {model.draws} draws (EOT), the judge that over as "
        "many others; use autoattack:version=rand",
    )


def _batch_dependent(model: Model, x: Array) -> Flag | None:
    """Check that an image's logits do not depend on the other images, its position or the batch size."""
    first = np.asarray(predict(model, x))
    among_others = np.asarray(predict(model, np.concatenate([1 - x[::-1], x])))[len(x) :]
    off = _difference(first, among_others)
    if off <= SAME:
        return None
    return Flag(
        name="batch_dependent",
        level="invalid",
        evidence={"difference": min(off, 1e30)},
        message=f"logits change by {off:.1g} of the largest with the rest of the batch: set batch norm and dropout to "
        "evaluation mode, and make noise independent of the position in the batch",
    )


def _constant(x: Array, logits: Array) -> Finding:
    if (x == x[0]).all():
        return NotMade(("constant_outputs",), "all images are the same" if len(x) > 1 else "there is only one image")
    if not np.isfinite(logits).any():
        return NotMade(("constant_outputs",), "no logits are finite")
    if _difference(logits, logits[:1].repeat(len(x), 0)) > 1e-6:
        return None
    return Flag(
        name="constant_outputs",
        level="invalid",
        evidence={"n": len(x)},
        message=f"all {len(x)} images give the same logits: the model is untrained, or ignores its input",
    )


def _other_input(model: Model, x: Array, y: Array, right: int, size: int) -> Flag | None:
    """Check whether the model does better on pixels of another scale or order."""
    others = {
        "pixels in [0, 255]": 255 * x,
        "pixels in [-1, 1]": 2 * x - 1,
        "inverted pixels": 1 - x,
        "height and width exchanged": x.swapaxes(1, 2),
        "channels in reverse order": x[..., ::-1],
    }
    others = {name: other for name, other in others.items() if other.shape == x.shape}
    scores = {
        name: int((in_batches(predict, model, size, other).argmax(-1) == y).sum()) for name, other in others.items()
    }
    best = max(scores, key=scores.__getitem__)
    if scores[best] - right <= max(0.1 * len(y), 2 * np.sqrt(len(y))):
        return None
    return Flag(
        name="other_input",
        level="note",
        evidence={"as_given": right, "as_other": scores[best], "other": best, "n": len(y)},
        message=f"the model does better on {best} ({scores[best]} of {len(y)} correct instead of {right}): "
        "convert the input inside the model",
    )
