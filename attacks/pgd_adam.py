"""PGD by Adam on the margin, as Gowal, Qin, Uesato, Mann & Kohli 2020 (arXiv 2010.03593) evaluate with it.

The first steps of Adam are long, in pixel units and not of eps: most of them end on the surface of the ball, where the
search continues with shorter ones.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from advbench.attacks.base import Proposal, Targeted, setting
from advbench.attacks.loop import iterate
from advbench.attacks.losses import input_gradient, losses
from advbench.attacks.selection import (
    Choice,
    choice,
    consider,
    proposal,
    settled,
)
from advbench.core.model import Model
from advbench.core.threat import Threat

adam = optax.scale_by_adam()


class State(NamedTuple):
    """Per image: position, Adam's moments, and cost."""

    x: Array
    misclassified: Array
    gradients: Array  # also the number of the step
    moments: optax.OptState
    chosen: Choice | None


class PGDAdam(Targeted):
    """Projected ascent on a loss by Adam, from a random start.

    The settings are those of the authors' code, except for the last quarter of the steps: theirs makes them a hundred
    times shorter still, here they stay as long as in the quarter before.

    Parameters
    ----------
    steps
        Ascent steps, at least 1.
    lr
        Adam's learning rate, white being 1, above 0; a tenth of it in the second half.
    loss
        Loss to maximise: cross-entropy, margin or DLR; "difference" when targeted.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(PGDAdam(steps=200))
    'pgd-adam:steps=200'
    """

    norms = ("linf", "l2")
    cost = "40 gradients"
    paper = "Gowal et al. 2020, arXiv 2010.03593"
    stops = True

    steps: int = 40
    lr: float = 0.1
    loss: Literal["ce", "margin", "dlr", "difference"] = setting(default="margin")

    def check(self, threat: Threat) -> None:
        super().check(threat)
        known = [name for name in losses(self.targets) if name != "kl"]
        if self.loss not in known:
            raise ValueError(f"PGDAdam has no loss {self.loss!r} here; it has: {', '.join(known)}")
        if self.steps < 1 or not self.lr > 0:
            raise ValueError("PGDAdam needs steps >= 1 and lr > 0")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = _begin(threat, x, keys)._replace(chosen=choice(model, x, y))
        ended = iterate(self, model, threat, x, y, begun, self.steps)
        return proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.gradients, ended.gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Take one ascent step; misclassified images stay."""
        g, logits = input_gradient(model, losses(self.targets)[self.loss], state.x, y)
        done = state.misclassified | settled(model, logits, y)
        update, moments = jax.vmap(adam.update)(jnp.where(jnp.isfinite(g), g, 0.0), state.moments)
        lr = jnp.where(2 * state.gradients < self.steps, self.lr, self.lr / 10)
        ascended = jax.vmap(threat.project)(x, state.x + lr[:, None, None, None] * update)
        return State(
            jnp.where(done[:, None, None, None], state.x, ascended),
            done,
            state.gradients + ~state.misclassified,
            moments,
            consider(state.chosen, model, state.x, y, logits, path=True),
        )

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified


@jax.jit
def _begin(threat: Threat, x: Array, keys: Array) -> State:
    begin = jax.vmap(threat.start)(keys, x)
    return State(begin, jnp.zeros(len(x), bool), jnp.zeros(len(x), jnp.int32), jax.vmap(adam.init)(begin), None)
