"""Fast minimum-norm attack (Pintor, Roli, Brendel & Biggio 2021, arXiv 2102.12827).

Climb the margin by steps that shorten along a cosine, and project onto a ball around the image: as large as the
distance to the linearised boundary until an image fools, then smaller where it fools and larger where it does not.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.base import Aimed, Proposal
from advbench.attacks.loop import iterate
from advbench.attacks.losses import losses, slope
from advbench.attacks.minimum import Best, cosine
from advbench.attacks.rows import scaled
from advbench.attacks.selection import beyond, look, passes
from advbench.core.model import Model
from advbench.core.threat import (
    L1,
    L2,
    TINY,
    Linf,
    Norm,
    Threat,
)

DUAL: dict[str, Norm] = {"linf": L1(), "l2": L2(), "l1": Linf()}


class State(NamedTuple):
    """Per image: the perturbation, the ball, the best so far."""

    d: Array
    radius: Array
    step: Array
    best: Best


class FMN(Aimed):
    """Minimum-norm attack in every norm; the defaults are those of the authors' code, but for two.

    Theirs takes 10 steps, for speed; the paper's longest runs take 1,000. And the paper chooses the first step size
    anew for each network and norm.

    Parameters
    ----------
    steps
        Descent steps, at least 1.
    step_size
        Length of the first step, in L2, above 0; steps fall to a hundredth.
    gamma
        Part by which the ball changes in the first steps, below 1.
    gamma_final
        Part by which it changes in the last ones, above 0 and at most gamma.
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
        n = len(x)
        radius = jnp.full(n, 1.0 if threat.norm.name == "l0" else jnp.inf)
        begun = State(jnp.zeros_like(x), radius, jnp.zeros(n, jnp.int32), Best.none(model, x, y))
        ended: State = iterate(self, model, threat, x, y, begun, self.steps)
        return ended.best.proposal(model, threat, x, y, ended.step * passes(model), ended.step)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Look whether it fools, resize the ball, then take one step along the slope and back into the ball."""
        margin = losses(self.targets)["margin"]
        size = jax.vmap(threat.norm.size)
        x_adv, length = x + state.d, size(state.d)
        g, logits = slope(model, margin, x_adv, y)
        blocked = ((g > 0) & (x_adv >= 1.0)) | ((g < 0) & (x_adv <= 0.0))  # the boundary is not reached through these
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
            boundary = jnp.abs(gain) / jnp.maximum(jax.vmap(DUAL[threat.norm.name].size)(g), 1e-12)
            boundary = length + (1 + gamma) * boundary  # on the boundary itself nothing fools
            larger = jnp.where(jnp.isfinite(best.size), larger, jnp.where(jnp.isfinite(boundary), boundary, jnp.inf))
        radius = jnp.where(gain > 0, jnp.minimum(smaller, best.size), larger)
        radius = jnp.clip(radius, 0.0, size(jnp.maximum(x, 1 - x)))  # nothing in the box is further

        step = cosine(self.step_size, self.step_size / 100, state.step, self.steps)
        ahead = state.d + scaled(step, jax.vmap(L2().steepest)(g))
        if threat.norm.name == "l2":  # onto the sphere, as in the authors' code: from inside the ball as well
            ahead = scaled(radius / jnp.maximum(size(ahead), TINY), ahead)
        low, high = -x, 1 - x
        if threat.norm.name == "l0":  # as the authors do: the values that were pushed farthest, whatever their room
            low, high = low - jnp.inf, high + jnp.inf
        ahead = jax.vmap(threat.norm.project)(ahead, radius, low, high)
        return State(jnp.clip(x + ahead, 0.0, 1.0) - x, radius, state.step + 1, best)

    def done(self, state: State) -> Array:
        """None before the last step."""
        return state.step >= self.steps
