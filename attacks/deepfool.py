"""DeepFool (Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv 1511.04599).

Linearise the differences of logits around the image, go to the nearest boundary of that linear model, and repeat until
the prediction changes. The sum of all steps is overshot a little, so as to end beyond the boundary and not on it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Attack, Proposal, setting
from advbench.attacks.loop import iterate
from advbench.attacks.minimum import Best
from advbench.attacks.rows import blank, filled, per_image
from advbench.attacks.selection import (
    Choice,
    choice,
    look,
    passes,
    sure,
)
from advbench.core.model import Model
from advbench.core.threat import Threat

NUDGE = 1e-4  # added to each step's length, as in the authors' code: a boundary that is very near gets crossed too


class State(NamedTuple):
    """Per image: position, and cost."""

    x: Array
    total: Array  # sum of all steps, without overshoot
    misclassified: Array
    forwards: Array
    gradients: Array
    chosen: Choice | None


class DeepFool(Attack):
    """Minimum-norm attack; the defaults are those of the authors' code.

    Parameters
    ----------
    steps
        Largest number of linearisations, at least 1.
    overshoot
        Share by which the whole perturbation is lengthened to cross the boundary, at least 0.
    candidates
        Number of likeliest classes considered, the label among them; at least 2.

    Examples
    --------
    With `model`, `l2`, `x`, `y` and `keys` of the example of `Attack`:

    >>> DeepFool()(model, l2, x, y, keys).claims.tolist()
    [True, True]
    """

    norms = ("l2", "linf")
    cost = "up to 50 forward passes with 9 gradients each"
    paper = "Moosavi-Dezfooli et al. 2016, arXiv 1511.04599"
    stops = True

    steps: int = 50
    overshoot: float = 0.02
    candidates: int = setting(default=10)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.steps < 1 or self.candidates < 2 or self.overshoot < 0:
            raise ValueError("DeepFool needs steps >= 1, candidates >= 2 and overshoot >= 0")
        if self.restarts > 1:
            raise ValueError("DeepFool has no random part: restarts would all be the same")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Proposal:
        others = _others(self, model, x, y)
        zero = filled(x, 0, np.int32)  # plus one forward pass to rank the classes
        begun = State(x, blank(x), filled(x, False, bool), zero + 1, zero, choice(model, x, y))
        ended = iterate(self, model, threat, x, (y, others), begun, self.steps)
        best = Best(ended.x, jnp.where(ended.misclassified, 0.0, jnp.inf), ended.chosen)
        return best.proposal(model, threat, x, y, ended.forwards * passes(model), ended.gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: tuple[Array, Array], state: State) -> State:
        """Step to the nearest boundary of the linearised model; misclassified images stay."""
        label, others = y

        def leads(x: Array) -> tuple[Array, Array]:
            logits = model(x)
            return jnp.take_along_axis(logits, others, 1) - jnp.take_along_axis(logits, label[:, None], 1), logits

        lead, pull, logits = jax.vjp(leads, state.x, has_aux=True)
        one_class = jnp.broadcast_to(jnp.eye(others.shape[1])[:, None], (others.shape[1], *lead.shape))
        slopes = jax.vmap(pull)(one_class)[0]  # [classes, B, H, W, C]
        slopes = jnp.where(jnp.isfinite(slopes), slopes, 0.0)
        seen = look(model, state.x, label, logits)
        done = state.misclassified | sure(logits, label, seen)
        best = Best(state.x, state.forwards, state.chosen).or_surer(threat, x, state.x, seen, ~state.misclassified)
        lead = lead if seen is None else lead - seen.enough[:, None]
        total = state.total + jax.vmap(_to_boundary, (None, 0, 1))(threat, lead, slopes)
        ahead = jnp.clip(x + (1 + self.overshoot) * total, 0.0, 1.0)
        return State(
            per_image(done)(state.x, ahead),
            total,
            done,
            state.forwards + ~state.misclassified,
            state.gradients + jnp.where(state.misclassified, 0, others.shape[1]),
            best.chosen,
        )

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified


def _to_boundary(threat: Threat, lead: Array, slopes: Array) -> Array:
    """Find the shortest step after which another class would lead, were the model linear; for one image."""
    directions = jax.vmap(threat.norm.steepest)(slopes)
    gains = (directions * slopes).sum((1, 2, 3))  # per unit of the norm
    distances = jnp.where(jnp.isfinite(lead), jnp.abs(lead), 0.0) / jnp.maximum(gains, 1e-8)
    nearest = jnp.argmin(distances)
    furthest = threat.norm.length(jnp.ones_like(slopes[0]))  # vanishing gradients must not move an image to infinity
    return (jnp.minimum(distances[nearest], furthest) + NUDGE) * directions[nearest]


@jax.jit
def _others(attack: DeepFool, model: Model, x: Array, y: Array) -> Array:
    """Rank the likeliest wrong classes, int32 `[B, candidates - 1]`."""
    logits = model(x)
    wrong = jnp.where(jnp.arange(logits.shape[1]) == y[:, None], -jnp.inf, logits)
    return jax.lax.top_k(wrong, min(attack.candidates, logits.shape[1]) - 1)[1]
