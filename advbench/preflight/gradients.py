"""Checks of a model's input gradients: they exist, are finite, not zero, and not lost in rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from advbench.attacks.losses import cross_entropy, input_gradient, margin
from advbench.core.flag import Flag
from advbench.core.model import Model
from advbench.preflight.contract import first_line
from advbench.preflight.made import Finding, NotMade
from advbench.preflight.passes import in_batches
from advbench.preflight.queries import queries_only

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

Array = NDArray[Any]

SIZES: Final = ("zero_gradients", "saturated")  # checks on the size of gradients
FEW: Final = 0.1  # share of images with a zero gradient that is normal for a network
ROUNDING: Final = 2.0**-23  # of float32
MARGIN_LOSS, ENTROPY_LOSS = np.True_, np.False_


def gradients(model: LoadedModel, x: Array, y: Array, size: int) -> list[Finding]:
    """Check the input gradients of the margin and of the cross-entropy.

    Parameters
    ----------
    model : LoadedModel
        The model.
    x, y : np.ndarray
        Images float32 `[n, H, W, C]` in [0, 1], and labels int32 `[n]`.
    size : int
        Images per batch.

    Returns
    -------
    list of Flag or NotMade
        `no_gradient`, `zero_gradients`, `saturated`, or the reasons why they were not checked.
    """
    if model.access != "gradient":
        return [queries_only(model.access), NotMade(("no_gradient", *SIZES), "the model gives no gradients")]
    try:
        by_margin, by_entropy = (
            in_batches(lambda model, x, y, loss=loss: gradient_sizes(model, loss, x, y), model.predict, size, x, y)
            for loss in (MARGIN_LOSS, ENTROPY_LOSS)
        )
    except Exception as error:  # whatever differentiating a user's own code may raise
        what = f"can't be differentiated ({first_line(error)})"
        return [_no_gradient({"error": first_line(error)}, what), NotMade(SIZES, "the model can't be differentiated")]
    n = len(x)
    bad = int((~np.isfinite(by_margin)).sum())
    zero = int((by_margin == 0).sum())
    lost = int((by_entropy < ROUNDING * by_margin).sum())
    flags: list[Finding] = []
    if bad:
        flags.append(_no_gradient({"images": bad, "n": n}, f"gives NaN or infinite gradients at {bad} of {n} images"))
    if zero:
        flags.append(
            Flag(
                name="zero_gradients",
                level="invalid" if zero > FEW * n else "note",
                evidence={"images": zero, "n": n},
                message=f"the margin's gradient is exactly zero at {zero} of {n} images, as after quantising, "
                "thresholding or clipping the input: gradient attacks fail there; define a backward pass with "
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
                "because logits are large: attack with the margin or DLR loss too",
            )
        )
    return flags


def _no_gradient(evidence: dict[str, Any], what: str) -> Flag:
    message = f"the model {what}: gradient attacks can't work; use score attacks"
    return Flag(name="no_gradient", level="invalid", evidence=evidence, message=message)


@jax.jit
def gradient_sizes(model: Model, loss: jax.Array | np.bool, x: jax.Array, y: jax.Array) -> jax.Array:
    """Compute each image's largest absolute input gradient, in one program for both losses.

    Parameters
    ----------
    model : Model
        The model.
    loss : np.bool
        `MARGIN_LOSS` or `ENTROPY_LOSS`.
    x, y : Array
        Images float32 `[B, H, W, C]` and labels int32 `[B]`.

    Returns
    -------
    Array
        float32 `[B]`; NaN if any entry of the gradient is.
    """

    def chosen(logits: jax.Array, y: jax.Array) -> jax.Array:
        value: jax.Array = jax.lax.cond(loss, margin, cross_entropy, logits, y)
        return value

    return jnp.abs(input_gradient(model, chosen, x, y)[0]).max((1, 2, 3))
