"""Losses that attacks maximise: logits `[K]` of one image and its reference in, a scalar out.

Untargeted losses refer to the true label, targeted ones to a `TargetedLabels`, `kl` to the clean logits.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import log_softmax

from advbench.attacks.base import Starts, TargetedLabels
from advbench.core.model import Model
from advbench.core.randomised import Randomised

Loss = Callable[[Array, Any], Array]


def entry(values: Array, at: Array) -> Array:
    """Pick one entry by a mask: XLA compiles the gradient of an index on CPUs as a loop that scatters.

    Parameters
    ----------
    values : Array
        `[K]`.
    at : Array
        Integer scalar, from 0 to K - 1.

    Returns
    -------
    Array
        The same number as `values[at]`.
    """
    return jnp.where(jnp.arange(values.size) == at, values, 0).sum()


def cross_entropy(logits: Array, label: Array) -> Array:
    """Negative log-likelihood of the label (Szegedy et al. 2014, arXiv 1312.6199).

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    label : Array
        True label, int32 scalar.

    Returns
    -------
    Array
        Scalar, at least 0.
    """
    return -entry(log_softmax(logits), label)


def margin(logits: Array, label: Array) -> Array:
    """Best wrong logit minus the right one (Carlini & Wagner 2017, arXiv 1608.04644).

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    label : Array
        True label, int32 scalar.

    Returns
    -------
    Array
        Scalar; positive when misclassified.
    """
    wrong = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
    return wrong.max() - entry(logits, label)


def dlr(logits: Array, label: Array) -> Array:
    """Difference of logits ratio (Croce & Hein 2020, arXiv 2003.01690): the margin over the spread of the top three.

    With fewer than three classes there is no third logit, and the plain margin is used.

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    label : Array
        True label, int32 scalar.

    Returns
    -------
    Array
        Scalar; positive when misclassified.
    """
    if logits.size < 3:
        return margin(logits, label)
    top = jax.lax.top_k(logits, 3)[0]
    return margin(logits, label) / (top[0] - top[2] + 1e-12)


def cross_entropy_to(logits: Array, loss_reference: TargetedLabels) -> Array:
    """Log-likelihood of the target class.

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    loss_reference : TargetedLabels
        Label and target class of the image.

    Returns
    -------
    Array
        Scalar, at most 0.
    """
    return entry(log_softmax(logits), loss_reference.target)


def margin_to(logits: Array, loss_reference: TargetedLabels) -> Array:
    """Target logit minus the best other one.

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    loss_reference : TargetedLabels
        Label and target class of the image.

    Returns
    -------
    Array
        Scalar; positive when the target is predicted.
    """
    return -margin(logits, loss_reference.target)


def difference_to(logits: Array, loss_reference: TargetedLabels) -> Array:
    """Target logit minus the right one (Gowal et al. 2019, arXiv 1910.09338); other classes don't matter.

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    loss_reference : TargetedLabels
        Label and target class of the image.

    Returns
    -------
    Array
        Scalar; positive when the target is likelier than the label.
    """
    return entry(logits, loss_reference.target) - entry(logits, loss_reference.label)


def dlr_to(logits: Array, loss_reference: TargetedLabels) -> Array:
    """Targeted DLR (Croce & Hein 2020, arXiv 2003.01690); with fewer than four classes `difference_to`.

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    loss_reference : TargetedLabels
        Label and target class of the image.

    Returns
    -------
    Array
        Scalar; positive when the target is likelier than the label.
    """
    gain = difference_to(logits, loss_reference)
    if logits.size < 4:
        return gain
    top = jax.lax.top_k(logits, 4)[0]
    return gain / (top[0] - (top[2] + top[3]) / 2 + 1e-12)


def kl(logits: Array, clean_logits: Array) -> Array:
    """Kullback-Leibler divergence from the clean prediction (TRADES; Zhang et al. 2019, arXiv 1901.08573).

    Parameters
    ----------
    logits : Array
        float32 `[K]`, of one image.
    clean_logits : Array
        float32 `[K]`, of the clean image.

    Returns
    -------
    Array
        Scalar, at least 0.
    """
    clean = log_softmax(clean_logits)
    return (jnp.exp(clean) * (clean - log_softmax(logits))).sum()


def losses(targets: int) -> dict[str, Loss]:
    """Return losses by name: those that refer to `TargetedLabels` if there are targets, else those on labels.

    Parameters
    ----------
    targets : int
        Number of target classes; 0 is untargeted.

    Returns
    -------
    dict[str, Loss]
        `ce`, `margin`, `dlr`, and `difference` or `kl`.
    """
    if targets:
        return {"ce": cross_entropy_to, "margin": margin_to, "dlr": dlr_to, "difference": difference_to}
    return {"ce": cross_entropy, "margin": margin, "dlr": dlr, "kl": kl}


def label_of(y: Any) -> Array:
    """Return the true labels in the reference of a loss; clean logits as they are.

    Parameters
    ----------
    y : Any
        Labels int32 `[B]`, a `TargetedLabels`, a `Starts`, or clean logits `[B, K]`.

    Returns
    -------
    Array
        int32 `[B]`, or the logits.
    """
    return y.label if isinstance(y, TargetedLabels | Starts) else y


def misclassified(logits: Array, y: Any) -> Array:
    """Mark misclassified rows; none where `y` holds clean logits instead of labels.

    Parameters
    ----------
    logits : Array
        float32 `[B, K]`.
    y : Any
        Reference of the loss, leading axis B.

    Returns
    -------
    Array
        bool `[B]`.
    """
    label = label_of(y)
    if label.ndim != 1:
        return jnp.zeros(len(logits), bool)
    return logits.argmax(-1) != label


def input_gradient(model: Model, loss: Loss, x: Array, y: Any) -> tuple[Array, Array]:
    """Differentiate each image's own loss with respect to the image.

    For a randomised model it is the gradient of the mean loss over its draws (expectation over transformation), with
    the mean logits.

    Parameters
    ----------
    model : Model
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    loss : Loss
        Logits `[K]` and reference of one image to a scalar.
    x : Array
        Images, float32 `[B, H, W, C]` in [0, 1].
    y : Any
        Reference of the loss, leading axis B: labels int32 `[B]`, a `TargetedLabels`, or clean logits.

    Returns
    -------
    tuple[Array, Array]
        Input gradients in the shape of `x`, and the logits `[B, K]` computed on the way.
    """

    def total(x: Array) -> tuple[Array, Array]:
        if isinstance(model, Randomised):
            draws = model.sample(x)
            return jax.vmap(jax.vmap(loss), (0, None))(draws, y).mean(0).sum(), draws.mean(0)
        logits = model(x)
        return jax.vmap(loss)(logits, y).sum(), logits

    gradient: tuple[Array, Array] = jax.grad(total, has_aux=True)(x)
    return gradient
