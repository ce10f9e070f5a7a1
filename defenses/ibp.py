"""Training on interval bounds (Gowal et al. 2018, arXiv 1810.12715), so that the network can be certified."""

from __future__ import annotations

import jax
import optax
from flax import nnx
from jax import Array

from advbench.bounds import Method, margins, read
from advbench.core.model import Model
from advbench.core.norms import NORMS
from advbench.core.threat import Threat
from advbench.defenses.base import Defense
from advbench.nn.frozen import freeze

NOWHERE = Threat(NORMS["linf"], 0.0)


class IBP(Defense):
    """Minimise the clean loss, and the loss of the worst logits that interval bounds allow.

    The share of the clean loss decreases from 1 to `kappa` while eps warms up, which is required: give `--eps-warmup`.
    No adversarial training examples are made; the bounds are those of the network in evaluation mode.

    Parameters
    ----------
    kappa
        Share of the clean loss at the end, from 0 to 1.

    Examples
    --------
    >>> IBP(kappa=0.2).kappa
    0.2
    """

    paper = "Gowal et al. 2018, arXiv 1810.12715"

    kappa: float = 0.5

    def check(self, threat: Threat) -> None:
        name = type(self).__name__
        if threat.norm.name not in ("linf", "l2", "l1"):
            raise ValueError(f"{name} can't train for {threat.norm.name}; it serves linf, l2, l1")
        if not 0 <= self.kappa <= 1:
            raise ValueError(f"{name} needs kappa between 0 and 1, not {self.kappa:g}")

    def at(self, threat: Threat, ramp: float) -> Defense:
        return Bounded(threat=threat, clean=1 - (1 - self.kappa) * ramp)


class Bounded(Defense):
    """Loss of bounds at one step. Its logits are the worst that the bounds allow: accuracy on them is certified.

    Parameters
    ----------
    threat
        Norm ball of this step.
    clean
        Share of the clean loss, from 0 to 1.
    """

    paper = IBP.paper

    threat: Threat = NOWHERE
    clean: float = 1.0

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        natural = optax.softmax_cross_entropy(model(x), target)
        worst = -self.margins(model, x, target.argmax(-1))
        certified = optax.softmax_cross_entropy(worst, target)
        return self.clean * natural + (1 - self.clean) * certified, worst

    def margins(self, model: Model, x: Array, y: Array) -> Array:
        """Bound the margins of images.

        Parameters
        ----------
        model : Model
            Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
        x : Array
            Images, float32 `[B, H, W, C]` in [0, 1].
        y : Array
            Labels, int32 `[B]`.

        Returns
        -------
        Array
            Lower bounds `[B, K]` of the label's logit minus each other one.
        """
        return bounded(model, self.threat, x, y, "ibp")


def bounded(model: Model, threat: Threat, x: Array, y: Array, method: Method) -> Array:
    """Bound the margins of a batch, of a module in evaluation mode; see `advbench.bounds.margins`.

    Parameters
    ----------
    model : Model
        Images `[B, H, W, C]` to logits `[B, K]`.
    threat : Threat
        Norm ball and pixel box.
    x : Array
        Images, float32 `[B, H, W, C]` in [0, 1].
    y : Array
        Labels, int32 `[B]`.
    method : Method
        Bounding method.

    Returns
    -------
    Array
        float32 `[B, K]`.
    """
    graph = read(freeze(model) if isinstance(model, nnx.Module) else model, x.shape[1:])
    found: Array = jax.vmap(lambda x, y: margins(graph, threat, x, y, method))(x, y)
    return found
