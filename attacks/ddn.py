"""Decoupled direction and norm (Rony, Hafemann, Oliveira, Ben Ayed, Sabourin & Granger 2019, arXiv 1811.09600).

Take ascent steps on the cross-entropy, and project the sum onto a sphere around the image, whose radius shrinks by a
factor when the image is misclassified and grows by it when it is not.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Proposal, Targeted, setting
from advbench.attacks.loop import iterate
from advbench.attacks.losses import input_gradient, losses
from advbench.attacks.minimum import Best, cosine
from advbench.attacks.rows import blank, filled, scaled
from advbench.attacks.selection import beyond, look, passes
from advbench.core.model import Model
from advbench.core.norms import L2, TINY
from advbench.core.threat import Threat

l2 = L2()


class State(NamedTuple):
    """Per image: perturbation, radius of the sphere, best so far."""

    d: Array
    radius: Array
    step: Array
    best: Best


class DDN(Targeted):
    """Minimum-norm attack in L2; the defaults are those of the authors' code, except for `levels`.

    The authors round every image to 256 levels, since their images must be files. Here any pixels in [0, 1] are
    allowed, as for every other attack, and rounding would only lengthen the perturbation; `levels=256` is theirs.

    Parameters
    ----------
    steps
        Ascent steps, at least 1.
    step_size
        Length of the first step, in L2, above 0; steps decrease to a hundredth along a cosine.
    gamma
        Relative change of the radius in a step, between 0 and 1.
    radius
        First radius, in L2, above 0.
    levels
        Number of values per pixel that images are rounded to, 2 or more; 0 does not round.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(DDN(steps=1000))
    'ddn:steps=1000'
    """

    norms = ("l2",)
    cost = "100 gradients"
    paper = "Rony et al. 2019, arXiv 1811.09600"

    steps: int = 100
    step_size: float = 1.0
    gamma: float = 0.05
    radius: float = 1.0
    levels: int = setting(default=0)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.steps < 1 or not min(self.step_size, self.radius) > 0 or not 0 < self.gamma < 1:
            raise ValueError("DDN needs steps >= 1, step_size > 0, radius > 0 and gamma between 0 and 1")
        if self.levels < 0 or self.levels == 1:
            raise ValueError(f"DDN can't round pixels to {self.levels} levels; 0 is not to round")
        if self.restarts > 1:
            raise ValueError("DDN starts from the clean image: restarts would all be the same")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        best, count, none = Best.none(model, x, y), filled(x, 0, np.int32), blank(x)
        begun = State(none, jnp.full(len(x), self.radius, jnp.float32), count, best)
        ended: State = iterate(self, model, threat, x, (y, _anywhere(keys, x)), begun, self.steps)
        return ended.best.proposal(model, threat, x, y, ended.step * passes(model), ended.step)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Evaluate the image, then take one ascent step and project onto the new sphere."""
        y, anywhere = y
        x_adv = x + state.d
        g, logits = input_gradient(model, losses(self.targets)["ce"], x_adv, y)
        seen = look(model, x_adv, y, logits)
        succeeds = beyond(jax.vmap(losses(self.targets)["margin"])(logits, y), seen) > 0
        direction = jax.vmap(l2.steepest)(jnp.where(jnp.isfinite(g), g, 0.0))
        flat = (direction == 0).all((1, 2, 3), keepdims=True)  # a saturated softmax: take a random direction
        ahead = state.d + scaled(
            cosine(self.step_size, self.step_size / 100, state.step, self.steps), jnp.where(flat, anywhere, direction)
        )
        radius = state.radius * jnp.where(succeeds, 1 - self.gamma, 1 + self.gamma)
        radius = jnp.minimum(radius, jax.vmap(l2.length)(jnp.maximum(x, 1 - x)))  # no image in the box is further away
        ahead = jnp.clip(x + scaled(radius / jnp.maximum(jax.vmap(l2.length)(ahead), TINY), ahead), 0.0, 1.0)
        if self.levels:
            ahead = jnp.round(ahead * (self.levels - 1)) / (self.levels - 1)
        best = state.best.or_nearer(x_adv, jax.vmap(l2.length)(state.d), succeeds).or_surer(threat, x, x_adv, seen)
        return State(ahead - x, radius, state.step + 1, best)

    def done(self, state: State) -> Array:
        """Mark images whose steps are used up: all or none."""
        return state.step >= self.steps


@jax.jit
def _anywhere(keys: Array, x: Array) -> Array:
    """Draw a random direction per image."""
    return jax.vmap(lambda key, x: l2.steepest(jax.random.normal(key, x.shape)))(keys, x)
