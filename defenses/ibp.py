"""Training on interval bounds (Gowal et al. 2018, arXiv 1810.12715): what is trained can be certified."""

from __future__ import annotations

import jax
import optax
from flax import nnx
from jax import Array

from advbench.bounds import Method, margins, read
from advbench.core.model import Model
from advbench.core.threat import NORMS, Threat
from advbench.defenses.base import Defense
from advbench.nn.frozen import freeze

NOWHERE = Threat(NORMS["linf"], 0.0)


class IBP(Defense):
    """Pay for clean errors, and for the worst logits that interval bounds allow.

    The share of the clean loss falls from 1 to `kappa` while eps warms up, which it must: give `--eps-warmup`. No
    images are crafted; the bounds are those of the network in evaluation mode.
    """

    paper = "Gowal et al. 2018, arXiv 1810.12715"

    kappa: float = 0.5  # share of the clean loss in the end

    def check(self, threat: Threat) -> None:
        name = type(self).__name__
        if threat.norm.name not in ("linf", "l2", "l1"):
            raise ValueError(f"{name} can't train for {threat.norm.name}; it serves linf, l2, l1")
        if not 0 <= self.kappa <= 1:
            raise ValueError(f"{name} needs kappa between 0 and 1, not {self.kappa:g}")

    def at(self, threat: Threat, ramp: float) -> Defense:
        return Bounded(threat=threat, clean=1 - (1 - self.kappa) * ramp)


class Bounded(Defense):
    """What bounds cost at one step. Its logits are the worst that the bounds allow: accuracy on them is certified."""

    paper = IBP.paper

    threat: Threat = NOWHERE
    clean: float = 1.0  # share of the clean loss

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        natural = optax.softmax_cross_entropy(model(x), target)
        worst = -self.margins(model, x, target.argmax(-1))
        certified = optax.softmax_cross_entropy(worst, target)
        return self.clean * natural + (1 - self.clean) * certified, worst

    def margins(self, model: Model, x: Array, y: Array) -> Array:
        """Lower bounds `[B, K]` of the label's logit minus each other one."""
        return bounded(model, self.threat, x, y, "ibp")


def bounded(model: Model, threat: Threat, x: Array, y: Array, method: Method) -> Array:
    """`margins` of every image of a batch, of a module as it is in evaluation mode: `[B, K]`."""
    graph = read(freeze(model) if isinstance(model, nnx.Module) else model, x.shape[1:])
    found: Array = jax.vmap(lambda x, y: margins(graph, threat, x, y, method))(x, y)
    return found
