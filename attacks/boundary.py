"""The Boundary attack (Brendel, Rauber & Bethge 2018, arXiv 1712.04248): a random walk along the decision boundary.

From an adversarial image, each step draws a move on the sphere around the clean image, then goes a little towards the
clean image, and is accepted if the result is still misclassified. As in a trust region, success rates adapt the steps:
the spherical step so that about half of its moves succeed, the step to the source so that some of them do.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Attack, Proposal
from advbench.attacks.decisions import (
    STARTS,
    fresh,
    start,
    unit,
)
from advbench.attacks.loop import iterate
from advbench.attacks.minimum import Best
from advbench.attacks.rows import filled, per_image
from advbench.attacks.selection import passes, surely_misclassified
from advbench.core.model import Model
from advbench.core.norms import TINY
from advbench.core.threat import Threat

EVERY = 10  # steps between queries of the spherical move alone
WINDOW = 100, 30  # outcomes that rate the spherical step, and the whole step
RATES = (0.2, 0.5), (0.1, 0.25)  # below: shrink; above: grow
CONVERGED = 1e-7  # step to the source below which nothing changes any more


class SuccessRate(NamedTuple):
    """Latest outcomes of one kind of step, newest last."""

    outcomes: Array  # bool [B, window]
    looks: Array  # since the step was last adapted


class State(NamedTuple):
    """Per image; every leaf has leading axis B. `x` is always misclassified."""

    x: Array
    turn: Array
    spherical_step: Array
    source_step: Array
    on_sphere: SuccessRate
    whole: SuccessRate
    forwards: Array


class Boundary(Attack):
    """Minimum-norm attack that sees decisions only; the defaults are those published.

    Parameters
    ----------
    steps
        Steps along the boundary, at least 1.
    spherical_step
        First length of a step around the clean image, in units of the distance to it, above 0.
    source_step
        First length of a step towards the clean image, in units of the distance to it, above 0.
    step_adaptation
        Factor by which both lengths are adapted, above 1.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(Boundary(steps=5000))
    'boundary:steps=5000'
    """

    norms = ("l2",)
    access = "decision"
    starts = STARTS
    cost = "27,500 queries"
    paper = "Brendel et al. 2018, arXiv 1712.04248"
    steady = True

    steps: int = 25_000
    spherical_step: float = 0.01
    source_step: float = 0.01
    step_adaptation: float = 1.5

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.steps < 1 or not min(self.spherical_step, self.source_step) > 0 or not self.step_adaptation > 1:
            raise ValueError("Boundary needs steps >= 1, spherical_step and source_step > 0 and step_adaptation > 1")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = start(model, threat, x, y, keys)
        turns = self.steps + self.steps // EVERY
        state = _begin(self, begun.x, begun.found, begun.forwards)
        ended = iterate(self, model, threat, x, (y, keys), state, turns)
        best, none = Best(ended.x, jnp.where(begun.found, 0.0, jnp.inf)), filled(x, 0, np.int32)
        return best.proposal(model, threat, x, y, ended.forwards * passes(model), none)._replace(tried=begun.found)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Query a proposal or, every eleventh time, its spherical part alone."""
        labels, keys = y
        s = state
        active = ~self.done(s)
        looking = s.turn % (EVERY + 1) == EVERY
        sphere, proposal = jax.vmap(_propose)(fresh(keys, s.forwards), x, s.x, s.spherical_step, s.source_step)
        query = per_image(looking)(sphere, proposal)
        hit = surely_misclassified(model, query, labels) & active
        size = jax.vmap(threat.length)
        closer = size(x, query) < size(x, s.x)  # by construction, except for the box and rounding

        on_sphere, grow = _rate(s.on_sphere, hit, looking & active, RATES[0])
        # the whole step is rated as often as the sphere, not more: both have to settle together
        whole, further = _rate(s.whole, hit, (s.turn % (EVERY + 1) == EVERY - 1) & active, RATES[1])
        return State(
            x=per_image(hit & closer & ~looking)(query, s.x),
            turn=s.turn + active,
            spherical_step=s.spherical_step * self.step_adaptation**grow,
            source_step=s.source_step * self.step_adaptation ** (grow + further),
            on_sphere=on_sphere,
            whole=whole,
            forwards=s.forwards + active,
        )

    def done(self, state: State) -> Array:
        """Mark images that have converged, and those without an adversarial start."""
        return state.source_step < CONVERGED


def _propose(key: Array, x0: Array, x: Array, spherical_step: Array, source_step: Array) -> tuple[Array, Array]:
    """Return a move on the sphere around `x0` through `x`, and the same move followed by a step to `x0`."""
    d = x - x0
    distance = jnp.sqrt(jnp.square(d).sum())
    outwards = unit(d)
    move = jax.random.normal(key, x.shape)
    move = spherical_step * distance * unit(move - (move * outwards).sum() * outwards)
    sphere = jnp.clip(x0 + (d + move) / jnp.sqrt(1 + spherical_step**2), 0.0, 1.0)
    left = jnp.sqrt(jnp.square(sphere - x0).sum())  # clipping to the box may have shortened it
    share = jnp.maximum(left - (1 - source_step) * distance, 0.0) / jnp.maximum(left, TINY)
    return sphere, jnp.clip(sphere + share * (x0 - sphere), 0.0, 1.0)


def _rate(rate: SuccessRate, hit: Array, looked: Array, bounds: tuple[float, float]) -> tuple[SuccessRate, Array]:
    """Record an outcome; return 1 for a full window of successes, -1 for one of failures, then restart the window."""
    outcomes = per_image(looked)(jnp.concatenate([rate.outcomes[:, 1:], hit[:, None]], 1), rate.outcomes)
    looks = rate.looks + looked
    mean = outcomes.mean(1)
    full = looked & (looks >= outcomes.shape[1])
    grow = jnp.where(full, (mean > bounds[1]).astype(jnp.float32) - (mean < bounds[0]), 0.0)
    return SuccessRate(outcomes, jnp.where(grow != 0, 0, looks)), grow


@jax.jit
def _begin(attack: Boundary, begun: Array, found: Array, forwards: Array) -> State:
    none = jnp.zeros(len(begun), jnp.int32)
    rates = [SuccessRate(jnp.zeros((len(begun), window), bool), none) for window in WINDOW]
    spherical_step = jnp.full(len(begun), attack.spherical_step, jnp.float32)
    source_step = jnp.where(found, jnp.float32(attack.source_step), 0.0)
    return State(begun, none, spherical_step, source_step, rates[0], rates[1], forwards)
