"""Fast minimum-norm attack (Pintor, Roli, Brendel & Biggio 2021, arXiv 2102.12827).

Take ascent steps on the margin that shorten along a cosine, and project onto a ball around the image: its radius is the
distance to the linearised boundary until the first success, then shrinks after a success and grows after a failure.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Proposal, Targeted
from advbench.attacks.loop import iterate
from advbench.attacks.losses import input_gradient, losses
from advbench.attacks.minimum import Best, cosine
from advbench.attacks.rows import blank, filled, scaled
from advbench.attacks.selection import beyond, look, passes
from advbench.core.model import Model
from advbench.core.norms import L1, L2, TINY, Linf, Norm
from advbench.core.threat import Threat

DUAL: dict[str, Norm] = {"linf": L1(), "l2": L2(), "l1": Linf()}


class State(NamedTuple):
    """Per image: perturbation, radius of the ball, best so far."""

    d: Array
    radius: Array
    step: Array
    best: Best


class FMN(Targeted):
    """Minimum-norm attack in every norm; the defaults are those of the authors' code, except for two.

    The code takes 10 steps, for speed; the paper's longest runs take 1,000. And the paper tunes the first step size for
    each network and norm.

    Parameters
    ----------
    steps
        Ascent steps, at least 1.
    step_size
        Length of the first step, in L2, above 0; steps decrease to a hundredth.
    gamma
        Relative change of the radius in the first steps, below 1.
    gamma_final
        Relative change of the radius in the last steps, above 0 and at most gamma.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> FMN(steps=20)(model, linf, x, y, keys).claims.tolist()
    [True, True]
    """

    norms = ("linf", "l2", "l1", "l0")
    cost = "1,000 gradients"
    paper = "Pintor et al. 2021, arXiv 2102.12827"

    steps: int = 1000
    step_size: float = 1.0
    gamma: float = 0.05
    gamma_final: float = 0.001

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.steps < 1 or not self.step_size > 0 or not 0 < self.gamma_final <= self.gamma < 1:
            raise ValueError("FMN needs steps >= 1, step_size > 0 and 0 < gamma_final <= gamma < 1")
        if self.restarts > 1:
            raise ValueError("FMN has no random part: restarts would all be the same")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        radius, none = filled(x, 1.0 if threat.norm.name == "l0" else np.inf), blank(x)
        begun = State(none, radius, filled(x, 0, np.int32), Best.none(model, x, y))
        ended: State = iterate(self, model, threat, x, y, begun, self.steps)
        return ended.best.proposal(model, threat, x, y, ended.step * passes(model), ended.step)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Evaluate the image, resize the ball, then take one ascent step and project into the ball."""
        margin = losses(self.targets)["margin"]
        size = jax.vmap(threat.norm.length)
        x_adv, length = x + state.d, size(state.d)
        g, logits = input_gradient(model, margin, x_adv, y)
        blocked = ((g > 0) & (x_adv >= 1.0)) | ((g < 0) & (x_adv <= 0.0))  # pixels at the box can't move further
        g = jnp.where(jnp.isfinite(g) & ~blocked, g, 0.0)
        seen = look(model, x_adv, y, logits)
        gain = beyond(jax.vmap(margin)(logits, y), seen)
        best = state.best.or_nearer(x_adv, length, gain > 0).or_surer(threat, x, x_adv, seen)

        gamma = cosine(self.gamma, self.gamma_final, state.step, self.steps)
        if threat.norm.name == "l0":  # whole values: at least one more or less
            smaller = jnp.minimum(state.radius - 1, jnp.floor(state.radius * (1 - gamma)))
            larger = jnp.maximum(state.radius + 1, jnp.floor(state.radius * (1 + gamma)))
        else:
            smaller, larger = state.radius * (1 - gamma), state.radius * (1 + gamma)
            boundary = jnp.abs(gain) / jnp.maximum(jax.vmap(DUAL[threat.norm.name].length)(g), 1e-12)
            boundary = length + (1 + gamma) * boundary  # on the boundary itself the label still wins
            larger = jnp.where(jnp.isfinite(best.size), larger, jnp.where(jnp.isfinite(boundary), boundary, jnp.inf))
        radius = jnp.where(gain > 0, jnp.minimum(smaller, best.size), larger)
        radius = jnp.clip(radius, 0.0, size(jnp.maximum(x, 1 - x)))  # no image in the box is further away

        step = cosine(self.step_size, self.step_size / 100, state.step, self.steps)
        ahead = state.d + scaled(step, jax.vmap(L2().steepest)(g))
        if threat.norm.name == "l2":  # onto the sphere, as in the authors' code: from inside the ball as well
            ahead = scaled(radius / jnp.maximum(size(ahead), TINY), ahead)
        low, high = -x, 1 - x
        if threat.norm.name == "l0":  # as the authors do: keep the values moved farthest, before clipping to the box
            low, high = low - jnp.inf, high + jnp.inf
        ahead = jax.vmap(threat.norm.project)(ahead, radius, low, high)
        return State(jnp.clip(x + ahead, 0.0, 1.0) - x, radius, state.step + 1, best)

    def done(self, state: State) -> Array:
        """Mark images whose steps are used up: all or none."""
        return state.step >= self.steps
