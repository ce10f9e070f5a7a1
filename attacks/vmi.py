"""Variance-tuned momentum iterative FGSM (Wang & He 2021, arXiv 2103.15571).

    v <- mean of g around x - g(x),   m <- decay m + (g(x) + v) / |g(x) + v|_1,   x <- project(x + step steepest(m))

The v of a step corrects the gradient of the next one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.mim import MIFGSM, State
from advbench.attacks.selection import consider, settled
from advbench.core.model import Model
from advbench.core.threat import Threat


class Spread(NamedTuple):
    """Memory of VMI: gradient at the image, sum of those around it, and their difference one step earlier."""

    phase: Array
    plain: Array
    around: Array
    variance: Array


class VMIFGSM(MIFGSM):
    """Variance tuning: each gradient is corrected by how much those around the previous image differed from its own.

    Parameters
    ----------
    samples
        Neighbours whose gradients are taken in each step, at least 1.
    beta
        Radius of the neighbourhood, in units of eps, at least 0.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(VMIFGSM(samples=5))
    'vmi-fgsm:samples=5'
    """

    cost = "210 gradients"
    paper = "Wang & He 2021, arXiv 2103.15571"

    samples: int = 20
    beta: float = 1.5

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.samples < 1 or not self.beta >= 0:
            raise ValueError("VMIFGSM needs samples >= 1 and beta >= 0")

    @property
    def gradients_per_step(self) -> Array | int:
        """Gradients per ascent step: that of the image and those of its neighbours."""
        return 1 + self.samples

    def remember(self, x: Array) -> Spread:
        """Begin without variance."""
        return Spread(jnp.zeros(len(x), jnp.int32), *[jnp.zeros_like(x)] * 3)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: Any) -> Any:
        """Take one gradient, of the image or of a neighbour; after the last neighbour, move."""
        at, each = state.memory, (slice(None), None, None, None)
        home, last = at.phase == 0, at.phase == self.samples
        keys = jax.vmap(jax.random.fold_in)(state.keys, state.gradients)
        away = self.beta * threat.eps * jax.vmap(threat.norm.sample)(keys, x)
        g, logits, forwards = self.gradient(model, state.x + jnp.where(home[each], 0.0, away), y, state)
        g = jnp.where(jnp.isfinite(g), g, 0.0)  # or one bad neighbour would spoil the variance for good
        done = state.misclassified if logits is None else state.misclassified | (home & settled(model, logits, y))

        plain = jnp.where(home[each], g, at.plain)
        around = jnp.where(home[each], 0.0, at.around + g)
        moved, momentum = self.move(threat, x, state, plain + at.variance)
        go = (last & ~done)[each]
        return State(
            x=jnp.where(go, moved, state.x),
            misclassified=done,
            forwards=state.forwards + jnp.where(state.misclassified, 0, forwards),
            gradients=state.gradients + ~state.misclassified,
            momentum=jnp.where(go, momentum, state.momentum),
            keys=state.keys,
            memory=Spread(
                jnp.where(last, 0, at.phase + 1),
                plain,
                around,
                jnp.where(go, around / self.samples - plain, at.variance),
            ),
            chosen=consider(state.chosen, model, state.x, y, logits, home, path=True),
        )
