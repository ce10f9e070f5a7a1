"""Parts shared by minimum-norm attacks: the nearest adversarial image so far, and the search for the weight c."""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Proposal
from advbench.attacks.rows import filled, kept_inside, per_image
from advbench.attacks.selection import (
    Choice,
    Look,
    choice,
    last_look,
)
from advbench.core.model import Model
from advbench.core.threat import Threat

SLACK = 1.01  # tanh reaches this far past the allowed interval, so that no pixel starts where its gradient is 0


class Best(NamedTuple):
    """The nearest adversarial image so far; where another model judges, also that of the largest margin in the ball."""

    x: Array
    size: Array  # `[B]`; inf before the first success
    chosen: Choice | None = None

    @classmethod
    def none(cls, model: Model, x: Array, y: Any) -> "Best":
        """Begin at the clean images `x`, before the first step."""
        return cls(x, filled(x, np.inf), choice(model, x, y))

    def or_nearer(self, x: Array, size: Array, succeeds: Array) -> "Best":
        """Take those of `x` that are misclassified and nearer."""
        nearer = succeeds & (size < self.size)
        return self._replace(x=per_image(nearer)(x, self.x), size=jnp.where(nearer, size, self.size))

    def or_surer(
        self, threat: Threat, clean: Array, x: Array, seen: Look | None, active: Array | bool = True
    ) -> "Best":
        """Take those of `x` in the ball that have a larger margin, where another model judges."""
        if self.chosen is None or seen is None:
            return self
        within = jax.vmap(threat.length)(clean, x) <= threat.eps
        return self._replace(chosen=self.chosen.better(seen, x, within & active))

    def proposal(self, model: Model, threat: Threat, x: Array, y: Any, forwards: Array, gradients: Array) -> Proposal:
        """Propose the nearest adversarial image if in the ball, else that of the largest margin, else its projection.

        Parameters
        ----------
        model, threat, x, y : Model
            Arguments of the attack's call.
        forwards, gradients : Array
            int32 `[B]`: all passes spent.

        Returns
        -------
        Proposal
            Images within the ball.
        """
        found: Proposal = _proposed(self, model, threat, x, y, forwards, gradients)
        return found


class NormSearch(NamedTuple):
    """Binary search for the smallest sufficient c, each image at its own pace; `[B]` each."""

    step: Array  # in this round
    cost: Array  # at the last check of progress
    misclassified: Array  # in this round
    round: Array
    c: Array
    low: Array
    high: Array


class Rounds(Protocol):
    """Settings of such a search; `abort_early` ends a round whose cost stalls over a tenth of its steps."""

    @property
    def rounds(self) -> Array | int: ...
    @property
    def steps(self) -> Array | int: ...
    @property
    def c(self) -> Array | float: ...
    @property
    def abort_early(self) -> bool: ...


def search(plan: Rounds, x: Array) -> NormSearch:
    """Begin the search for images.

    Parameters
    ----------
    plan : Rounds
        Settings of the search.
    x : Array
        Images, float32 `[B, H, W, C]`.

    Returns
    -------
    NormSearch
        State before the first step.
    """
    zero, inf = filled(x, 0, np.int32), filled(x, np.inf)
    return NormSearch(zero, inf, filled(x, False, bool), zero, jnp.full(len(x), plan.c, jnp.float32), filled(x, 0), inf)


def advance(plan: Rounds, now: NormSearch, succeeds: Array, cost: Array) -> tuple[NormSearch, Array]:
    """Count one step of every image; images whose round ended continue with another c.

    Parameters
    ----------
    plan : Rounds
        Settings of the search.
    now : NormSearch
        State of the search.
    succeeds : Array
        bool `[B]`: images misclassified at this step.
    cost : Array
        float32 `[B]`: objective at this step.

    Returns
    -------
    tuple[NormSearch, Array]
        The next state, and a mask bool `[B]` of images whose round ended.
    """
    active = now.round < plan.rounds
    look = now.step % jnp.maximum(plan.steps // 10, 1) == 0
    stalled = look & (cost > 0.9999 * now.cost) if plan.abort_early else jnp.zeros_like(look)
    over = active & (stalled | (now.step + 1 >= plan.steps))
    misclassified = now.misclassified | (succeeds & active)
    high = jnp.where(over & misclassified, jnp.minimum(now.high, now.c), now.high)
    low = jnp.where(over & ~misclassified, jnp.maximum(now.low, now.c), now.low)
    c = jnp.where(jnp.isinf(high), 10 * now.c, (low + high) / 2)
    return NormSearch(
        step=jnp.where(over, 0, now.step + 1),
        cost=jnp.where(over, jnp.inf, jnp.where(look, cost, now.cost)),
        misclassified=misclassified & ~over,
        round=now.round + over,
        c=jnp.where(over, c, now.c),
        low=low,
        high=high,
    ), over


def cosine(first: Array | float, last: Array | float, step: Array, steps: Array | int) -> Array:
    """Anneal from `first` at step 0 to `last` at `steps` by a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Parameters
    ----------
    first, last : Array or float
        Values at both ends.
    step : Array
        From 0 to `steps`.
    steps : Array or int
        Number of steps.

    Returns
    -------
    Array
        Value at the step.
    """
    return last + (first - last) * (1 + jnp.cos(math.pi * step / steps)) / 2


def squash(w: Array, low: Array | float, high: Array | float) -> Array:
    """Map Carlini & Wagner's variables to an image; values past the interval are clipped, their gradient is kept.

    Parameters
    ----------
    w : Array
        float32 `[B, H, W, C]`.
    low, high : Array or float
        Allowed interval of each pixel.

    Returns
    -------
    Array
        Images within [low, high].
    """
    x = (low + high) / 2 + SLACK * (high - low) / 2 * jnp.tanh(w)
    return x + jax.lax.stop_gradient(jnp.clip(x, low, high) - x)


def unsquash(x: Array, low: Array | float, high: Array | float) -> Array:
    """Invert `squash`.

    Parameters
    ----------
    x : Array
        Images within [low, high].
    low, high : Array or float
        Allowed interval of each pixel.

    Returns
    -------
    Array
        Variables, float32 `[B, H, W, C]`.
    """
    return jnp.arctanh((x - (low + high) / 2) / jnp.maximum(SLACK * (high - low) / 2, 1e-12))


@jax.jit
def _proposed(
    best: Best, model: Model, threat: Threat, x: Array, y: Any, forwards: Array, gradients: Array
) -> Proposal:
    near, within = kept_inside(threat, x, best.x), jnp.isfinite(best.size)
    within &= jax.vmap(threat.length)(x, best.x) <= threat.eps
    if best.chosen is None:
        return Proposal(near, forwards, gradients, within)
    surest = last_look(best.chosen, model, near, y, path=False)
    x = per_image(within)(near, surest.x)
    return Proposal(x, forwards + 1, gradients, within | surest.sure)
