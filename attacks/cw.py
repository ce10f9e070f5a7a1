"""Carlini & Wagner's L2 attack (2017, arXiv 1608.04644): the smallest perturbation that is misclassified.

    minimise over w   |x(w) - x0|^2 + c max(confidence - margin(x(w)), 0),   x(w) = middle + half tanh(w)

by Adam, in rounds that search for the smallest sufficient c. Every image goes through its rounds at its own pace, so
that its result does not depend on the batch. In Linf the same search runs inside the eps-cube.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from advbench.attacks.base import Proposal, Targeted, setting
from advbench.attacks.loop import iterate
from advbench.attacks.losses import losses
from advbench.attacks.minimum import (
    Best,
    NormSearch,
    advance,
    search,
    squash,
    unsquash,
)
from advbench.attacks.rows import per_image
from advbench.attacks.selection import beyond, look, passes
from advbench.core.model import Model
from advbench.core.threat import Threat

adam = optax.scale_by_adam()


class State(NamedTuple):
    """Per image: descent of this round, search over c, best so far. Every leaf has leading axis B."""

    w: Array
    moments: optax.OptState
    search: NormSearch
    best: Best  # its size is the squared L2
    gradients: Array


class CW(Targeted):
    """Minimum-norm attack; the defaults are those of the authors' code.

    Parameters
    ----------
    rounds
        Rounds of the search over c, at least 1.
    steps
        Largest number of descent steps in each round, at least 1.
    lr
        Adam's learning rate in the tanh space, above 0.
    c
        First weight of the margin, above 0.
    confidence
        Margin to reach, in logits, at least 0.
    abort_early
        End a round whose cost stalls over a tenth of its steps.
    start
        Start of the descent: the clean image, or a random one in the ball, which restarts need.

    Examples
    --------
    With `model`, `l2`, `x`, `y` and `keys` of the example of `Attack`:

    >>> CW(steps=20, rounds=2, lr=0.1, c=10.0)(model, l2, x, y, keys).claims.tolist()
    [True, True]
    """

    norms = ("l2", "linf")
    cost = "up to 90,000 gradients"
    paper = "Carlini & Wagner 2017, arXiv 1608.04644"

    rounds: int = 9
    steps: int = 10_000
    lr: float = 0.01
    c: float = 1e-3
    confidence: float = 0.0
    abort_early: bool = setting(default=True)
    start: Literal["clean", "uniform"] = setting(default="clean")

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.restarts > 1 and self.start == "clean":
            raise ValueError("CW's restarts from the clean image would all be the same: use start=uniform")
        if min(self.rounds, self.steps) < 1 or not min(self.lr, self.c) > 0 or self.confidence < 0:
            raise ValueError("CW needs rounds >= 1, steps >= 1, lr > 0, c > 0 and confidence >= 0")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = _begin(self, threat, x, keys)._replace(best=Best.none(model, x, y))
        ended: State = iterate(self, model, threat, x, (y, begun.w), begun, self.rounds * self.steps)
        return ended.best.proposal(model, threat, x, y, ended.gradients * passes(model), ended.gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Take one step of Adam on every image, and begin the next round of those whose round ended."""
        y, w0 = y
        g, (x_adv, gain, size, cost, seen) = self._slope(model, threat, x, y, state)
        active = ~self.done(state)
        succeeds = gain > self.confidence
        update, moments = jax.vmap(adam.update)(g, state.moments)
        searched, over = advance(self, state.search, succeeds, cost)
        renew = per_image(over)
        return State(
            w=renew(w0, state.w - self.lr * update),
            moments=jax.tree.map(renew, jax.vmap(adam.init)(w0), moments),
            search=searched,
            best=state.best.or_nearer(x_adv, size, succeeds & active).or_surer(threat, x, x_adv, seen, active),
            gradients=state.gradients + active,
        )

    def done(self, state: State) -> Array:
        """Mark images whose last round has ended."""
        return state.search.round >= self.rounds

    def _slope(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> tuple[Array, Any]:
        """Differentiate each image's cost in w; return also the image, its margin, squared L2 and cost."""

        def total(w: Array) -> tuple[Array, Any]:
            x_adv = squash(w, *threat.pixel_bounds(x))
            logits = model(x_adv)
            seen = look(model, x_adv, y, logits)
            gain = beyond(jax.vmap(losses(self.targets)["margin"])(logits, y), seen)
            size = jnp.square(x_adv - x).sum((1, 2, 3))
            cost = size + state.search.c * jnp.maximum(self.confidence - gain, 0.0)
            return cost.sum(), (x_adv, gain, size, cost, seen)

        slope: tuple[Array, Any] = jax.grad(total, has_aux=True)(state.w)
        return jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0.0), slope[0]), slope[1]


@jax.jit
def _begin(attack: CW, threat: Threat, x: Array, keys: Array) -> State:
    begin = jax.vmap(threat.start)(keys, x) if attack.start == "uniform" else x
    w = unsquash(begin, *threat.pixel_bounds(x))
    zero, best = jnp.zeros(len(x), jnp.int32), Best(x, jnp.full(len(x), jnp.inf))
    return State(w, jax.vmap(adam.init)(w), search(attack, x), best, zero)
