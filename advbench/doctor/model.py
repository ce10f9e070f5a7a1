"""Can robustness numbers of this model be trusted at all? Looked at from outside, on a few clean images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from advbench.attacks import Randomised
from advbench.attacks.base import Model
from advbench.attacks.losses import cross_entropy, margin, slope
from advbench.doctor.contract import check_data, check_outputs, first_line
from advbench.doctor.queries import queries_only
from advbench.evaluation.result import Flag
from advbench.models.external import raised

if TYPE_CHECKING:
    from advbench.models.load import LoadedModel

Array = NDArray[Any]

TRANSLATED: Final = {"translation": "the translation to JAX computes what the original runtime does"}
"""What is asked of a translated model too."""

CHECKS: Final = {
    "nonfinite_outputs": "every logit is finite",
    "probabilities": "outputs are logits, not probabilities",
    "log_probabilities": "outputs are logits, not log-probabilities",
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
"""What is asked of a model, by the name of the flag that is raised when it is not so."""

SAME: Final = 1e-4  # of the largest logit: what batch size and summation order may change
FEW: Final = 0.1  # share of images with a zero gradient that an honest network may have
ROUNDING: Final = 2.0**-23  # of float32
PROBE: Final = 32  # images for what costs several passes


def examine(model: LoadedModel, images: Any, labels: Any, *, batch_size: int = 64) -> list[Flag]:
    """Look for what makes an evaluation of this model worthless, before any attack.

    Parameters
    ----------
    model : the model, as `load_model` gives it.
    images : clean images, float32 `[n, H, W, C]` in [0, 1], n at least 1; 64 or more say most.
    labels : true classes, integers `[n]`.
    batch_size : images a pass; the last batch is padded by repetition.

    Returns
    -------
    list of Flag
        What was found, named as in `CHECKS`: `invalid` where no number of this model would mean anything, `note`
        where it may still. Empty for a model without findings.

    Raises
    ------
    UsageError
        In one line, when images, labels or outputs have a wrong shape, kind or range, so that nothing can be run.
    """
    x, y = check_data(images, labels)
    classes = check_outputs(model, x, y)
    size = min(batch_size, len(x))
    logits = _in_batches(_predict, model.predict, size, x)
    flags = [
        _nonfinite(logits),
        None if model.access == "decision" else _probabilities(logits),
        _precision(model.predict, x),
        _random(model.predict, x[: min(size, PROBE)]),
        _randomised(model.predict),
        _batch_dependent(model.predict, x[: min(size, PROBE)]),
        _constant(x, logits),
        *(_gradients(model.predict, x, y, size) if model.access == "gradient" else [queries_only(model.access)]),
        _chance(logits, y, classes),
        _other_input(model.predict, x, y, logits, size),
        model.compare(model, x) if model.compare else None,
    ]
    return [flag for flag in flags if flag]


def clean_accuracy(model: LoadedModel, images: Any, labels: Any, *, batch_size: int = 64) -> float:
    """Share of images, float32 `[n, H, W, C]` in [0, 1], whose largest logit is the label's."""
    size = min(batch_size, len(images))
    return float((_in_batches(_predict, model.predict, size, images).argmax(-1) == labels).mean())


@jax.jit
def _predict(model: Model, x: Array) -> jax.Array:
    return model(jnp.asarray(x)).astype(jnp.float32)


@jax.jit
def _slopes(model: Model, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Largest slope of the margin and of the cross-entropy at each image, `[B]` each; NaN where one is."""
    sizes = [jnp.abs(slope(model, loss, x, y)[0]).max((1, 2, 3)) for loss in (margin, cross_entropy)]
    return sizes[0], sizes[1]


def _in_batches(compute: Any, model: Model, size: int, *arrays: Array) -> Any:
    """`compute(model, *batch)` over all rows, in batches of one size, as a pytree of NumPy arrays."""
    n = len(arrays[0])
    rows = np.arange(-(-n // size) * size) % n
    with raised():
        parts = [compute(model, *(a[take] for a in arrays)) for take in rows.reshape(-1, size)]
        return jax.tree.map(lambda *part: np.concatenate(part)[:n], *parts)


def _difference(a: Array, b: Array) -> float:
    """Largest difference over the largest finite magnitude; infinite when one is finite where the other is not."""
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
        message=f"logits of {len(bad)} of {len(logits)} images are NaN or infinite; such a model has no robustness",
    )


def _probabilities(logits: Array) -> Flag | None:
    rows = logits[np.isfinite(logits).all(-1)].astype(float)
    if not len(rows):
        return None
    off = float(np.abs(rows.sum(-1) - 1).max())
    if rows.min() >= 0 and rows.max() <= 1 + 1e-5 and off <= 1e-5:
        return Flag(
            name="probabilities",
            level="invalid",
            evidence={"row_sum_off_by": off},
            message="outputs are probabilities, which starve attacks of gradients: leave out the softmax",
        )
    with np.errstate(divide="ignore"):  # logits far below 0
        off = float(np.abs(np.log(np.exp(np.minimum(rows, 1)).sum(-1))).max())
    if rows.max() <= 1e-5 and off <= 1e-4:
        return Flag(
            name="log_probabilities",
            level="note",
            evidence={"log_sum_exp_off_by": off},
            message="outputs are log-probabilities; attacks work on them, but logits saturate later",
        )
    return None


def _precision(model: Model, x: Array) -> Flag | None:
    dtype = jax.eval_shape(model, jax.ShapeDtypeStruct(x.shape, jnp.float32)).dtype
    if dtype.itemsize >= 4:
        return None
    return Flag(
        name="low_precision",
        level="note",
        evidence={"dtype": str(dtype)},
        message=f"logits are {dtype}: ties and rounding hide small margins; evaluate in float32",
    )


def _random(model: Model, x: Array) -> Flag | None:
    """Compiled thrice over, and twice as plain Python: noise drawn by the host is frozen into a compiled program."""
    first = np.asarray(_predict(model, x))
    few = jnp.asarray(x[:2])
    off = max(
        *(_difference(first, np.asarray(_predict(model, x))) for _ in range(2)),
        _difference(*(np.asarray(model(few), np.float32) for _ in range(2))),
    )
    if off <= SAME:
        return None
    return Flag(
        name="random_outputs",
        level="invalid",
        evidence={"difference": min(off, 1e30)},
        message=f"the same batch gave logits that differ by {off:.1g} of the largest: noise or dropout is on. If that "
        "is the defense, return advbench.attacks.Randomised(apply) and use autoattack:version=rand",
    )


def _randomised(model: Model) -> Flag | None:
    if not isinstance(model, Randomised):
        return None
    return Flag(
        name="randomised",
        level="note",
        evidence={"draws": model.draws},
        message=f"the model is randomised: attacks climb the mean over {model.draws} draws (EOT), the judge averages "
        "as many others; use autoattack:version=rand",
    )


def _batch_dependent(model: Model, x: Array) -> Flag | None:
    """Other neighbours, another place, another batch size: logits must stay."""
    first = np.asarray(_predict(model, x))
    among_others = np.asarray(_predict(model, np.concatenate([1 - x[::-1], x])))[len(x) :]
    off = _difference(first, among_others)
    if off <= SAME:
        return None
    return Flag(
        name="batch_dependent",
        level="invalid",
        evidence={"difference": min(off, 1e30)},
        message=f"logits change by {off:.1g} of the largest with the rest of the batch: "
        "batch norm or dropout is in training mode, or noise depends on the place",
    )


def _constant(x: Array, logits: Array) -> Flag | None:
    if (x == x[0]).all() or not np.isfinite(logits).any() or _difference(logits, logits[:1].repeat(len(x), 0)) > 1e-6:
        return None
    return Flag(
        name="constant_outputs",
        level="invalid",
        evidence={"n": len(x)},
        message=f"all {len(x)} images give the same logits: untrained, or the input is not used",
    )


def _gradients(model: Model, x: Array, y: Array, size: int) -> list[Flag]:
    try:
        by_margin, by_entropy = _in_batches(_slopes, model, size, x, y)
    except Exception as error:  # whatever differentiating a user's own code may raise
        return [_no_gradient({"error": first_line(error)}, f"can't be differentiated ({first_line(error)})")]
    n = len(x)
    bad = int((~np.isfinite(by_margin)).sum())
    zero = int((by_margin == 0).sum())
    lost = int((by_entropy < ROUNDING * by_margin).sum())
    flags = []
    if bad:
        flags.append(_no_gradient({"images": bad, "n": n}, f"gives NaN or infinite gradients at {bad} of {n} images"))
    if zero:
        flags.append(
            Flag(
                name="zero_gradients",
                level="invalid" if zero > FEW * n else "note",
                evidence={"images": zero, "n": n},
                message=f"the margin's gradient is exactly zero at {zero} of {n} images: "
                "quantised, thresholded or cut-off inputs hide from gradient attacks; give them a backward pass by "
                "advbench.attacks.bpda, or use score attacks",
            )
        )
    if lost > FEW * n:
        flags.append(
            Flag(
                name="saturated",
                level="note",
                evidence={"images": lost, "n": n},
                message=f"the cross-entropy's gradient is lost in rounding at {lost} of {n} images, "
                "since logits are large: attack with the margin or DLR loss too",
            )
        )
    return flags


def _no_gradient(evidence: dict[str, Any], what: str) -> Flag:
    message = f"the model {what}: gradient attacks can't see it"
    return Flag(name="no_gradient", level="invalid", evidence=evidence, message=message)


def _chance(logits: Array, y: Array, classes: int) -> Flag | None:
    accuracy = float((logits.argmax(-1) == y).mean())
    if accuracy > 1.5 / classes or len(y) < classes:
        return None
    return Flag(
        name="near_chance",
        level="note",
        evidence={"accuracy": accuracy, "n": len(y), "chance": 1 / classes},
        message=f"clean accuracy is {accuracy:.1%}, near chance: check layout, normalisation and the order of labels",
    )


def _other_input(model: Model, x: Array, y: Array, logits: Array, size: int) -> Flag | None:
    """Whether the model was made for pixels of another scale or order."""
    right = int((logits.argmax(-1) == y).sum())
    others = {
        "pixels in [0, 255]": 255 * x,
        "pixels in [-1, 1]": 2 * x - 1,
        "inverted pixels": 1 - x,
        "height and width exchanged": x.swapaxes(1, 2),
        "channels in reverse order": x[..., ::-1],
    }
    others = {name: other for name, other in others.items() if other.shape == x.shape}
    scores = {
        name: int((_in_batches(_predict, model, size, other).argmax(-1) == y).sum()) for name, other in others.items()
    }
    best = max(scores, key=scores.__getitem__)
    if scores[best] - right <= max(0.1 * len(y), 2 * np.sqrt(len(y))):
        return None
    return Flag(
        name="other_input",
        level="note",
        evidence={"as_given": right, "as_other": scores[best], "other": best, "n": len(y)},
        message=f"the model does better on {best} ({scores[best]} of {len(y)} right, against {right}): "
        "convert inside the model",
    )
