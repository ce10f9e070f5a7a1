"""What an attack climbs: one image's logits `[K]` and its reference in, a scalar out.

Untargeted losses refer to the true label, targeted ones to an `Aim`, `kl` to the clean logits.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import log_softmax

from advbench.attacks.base import Aim, Starts
from advbench.core.model import Model
from advbench.core.randomised import Randomised

Loss = Callable[[Array, Any], Array]


def cross_entropy(logits: Array, label: Array) -> Array:
    """Negative log-likelihood of the label."""
    return -log_softmax(logits)[label]


def margin(logits: Array, label: Array) -> Array:
    """Best wrong logit minus the right one (Carlini & Wagner 2017, arXiv 1608.04644): positive when misclassified."""
    wrong = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
    return wrong.max() - logits[label]


def dlr(logits: Array, label: Array) -> Array:
    """Difference of logits ratio (Croce & Hein 2020, arXiv 2003.01690): the margin over the spread of the top three.

    With fewer than three classes there is no third logit, and the plain margin is used.
    """
    if logits.size < 3:
        return margin(logits, label)
    top = jax.lax.top_k(logits, 3)[0]
    return margin(logits, label) / (top[0] - top[2] + 1e-12)


def cross_entropy_to(logits: Array, aim: Aim) -> Array:
    """Log-likelihood of the target."""
    return log_softmax(logits)[aim.target]


def margin_to(logits: Array, aim: Aim) -> Array:
    """Target logit minus the best other one: positive when the target is predicted."""
    return -margin(logits, aim.target)


def difference_to(logits: Array, aim: Aim) -> Array:
    """Target logit minus the right one (Gowal et al. 2019, arXiv 1910.09338), whatever the other classes do."""
    return logits[aim.target] - logits[aim.label]


def dlr_to(logits: Array, aim: Aim) -> Array:
    """Targeted DLR (Croce & Hein 2020, arXiv 2003.01690); needs four classes, else the difference of the two logits."""
    gain = difference_to(logits, aim)
    if logits.size < 4:
        return gain
    top = jax.lax.top_k(logits, 4)[0]
    return gain / (top[0] - (top[2] + top[3]) / 2 + 1e-12)


def kl(logits: Array, clean_logits: Array) -> Array:
    """Kullback-Leibler divergence from the clean prediction (TRADES; Zhang et al. 2019, arXiv 1901.08573)."""
    clean = log_softmax(clean_logits)
    return (jnp.exp(clean) * (clean - log_softmax(logits))).sum()


def losses(targets: int) -> dict[str, Loss]:
    """Losses by name: those that refer to an `Aim` when there are targets, else those that refer to labels."""
    if targets:
        return {"ce": cross_entropy_to, "margin": margin_to, "dlr": dlr_to, "difference": difference_to}
    return {"ce": cross_entropy, "margin": margin, "dlr": dlr, "kl": kl}


def label_of(y: Any) -> Array:
    """True labels int32 `[B]` of what a loss refers to; clean logits as they are."""
    return y.label if isinstance(y, Aim | Starts) else y


def fooled(logits: Array, y: Any) -> Array:
    """Which rows of logits `[B, K]` are misclassified, bool `[B]`; none where `y` holds clean logits, not labels."""
    label = label_of(y)
    if label.ndim != 1:
        return jnp.zeros(len(logits), bool)
    return logits.argmax(-1) != label


def slope(model: Model, loss: Loss, x: Array, y: Any) -> tuple[Array, Array]:
    """Gradient of each image's own loss, shape of `x`, and the logits `[B, K]` met on the way.

    Of a randomised model it is the gradient of the mean loss over its draws (EOT), with the mean logits.
    """

    def total(x: Array) -> tuple[Array, Array]:
        if isinstance(model, Randomised):
            draws = model.sample(x)
            return jax.vmap(jax.vmap(loss), (0, None))(draws, y).mean(0).sum(), draws.mean(0)
        logits = model(x)
        return jax.vmap(loss)(logits, y).sum(), logits

    climb: tuple[Array, Array] = jax.grad(total, has_aux=True)(x)
    return climb
