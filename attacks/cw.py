"""Carlini & Wagner's L2 attack (2017, arXiv 1608.04644): the smallest perturbation that fools.

    minimise over w   |x(w) - x0|^2 + c max(confidence - margin(x(w)), 0),   x(w) = middle + half tanh(w)

by Adam, in rounds that search for the smallest sufficient c. Every image goes through its rounds at its
own pace, so that none depends on its neighbours. Under Linf the same search runs inside the eps-cube.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from advbench.attacks.base import Aimed, Model, Proposal, setting
from advbench.attacks.loop import iterate
from advbench.attacks.losses import losses
from advbench.attacks.threat import Threat

SLACK = 1.01  # tanh reaches this far past the allowed interval, so that no pixel starts where its slope is 0
adam = optax.scale_by_adam()


class State(NamedTuple):
    """Per image: the descent of this round, the search over c, the best so far. Every leaf has leading axis B."""

    w: Array
    moments: optax.OptState
    step: Array
    cost: Array  # when progress was last looked at
    fooled: Array  # in this round
    round: Array
    c: Array
    low: Array
    high: Array
    best: Array
    size: Array  # squared L2 of the best; inf until one fools
    gradients: Array


class CW(Aimed):
    """Minimum-norm attack; the defaults are those of the authors' code."""

    norms = ("l2", "linf")
    cost = "up to 90,000 gradients"
    paper = "Carlini & Wagner 2017, arXiv 1608.04644"

    rounds: int = 9  # of the search over c
    steps: int = 10_000  # in each round, at most
    lr: float = 0.01
    c: float = 1e-3  # where the search begins
    confidence: float = 0.0  # margin to reach, in logits
    abort_early: bool = setting(default=True)  # end a round whose cost stalls over a tenth of its steps
    start: str = setting(default="clean")  # or uniform: in the ball, for restarts

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.start not in ("clean", "uniform"):
            raise ValueError(f"CW has no start {self.start!r}; it has: clean, uniform")
        if self.restarts > 1 and self.start == "clean":
            raise ValueError("CW's restarts from the clean image would all be the same: use start=uniform")
        if min(self.rounds, self.steps) < 1 or not min(self.lr, self.c) > 0 or self.confidence < 0:
            raise ValueError("CW needs rounds >= 1, steps >= 1, lr > 0, c > 0 and confidence >= 0")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = _begin(self, threat, x, keys)
        ended = iterate(self, model, threat, x, (y, begun.w), begun, self.rounds * self.steps)
        return Proposal(_nearest(threat, x, ended.best), ended.gradients, ended.gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """One step of Adam for every image, and the next round for those that end theirs."""
        y, w0 = y
        g, (x_adv, gain, size, cost) = self._slope(model, threat, x, y, state)
        active = state.round < self.rounds
        fools = (gain > self.confidence) & active
        better = fools & (size < state.size)
        update, moments = jax.vmap(adam.update)(g, state.moments)

        look = state.step % jnp.maximum(self.steps // 10, 1) == 0
        stalled = look & (cost > 0.9999 * state.cost) if self.abort_early else jnp.zeros_like(look)
        over = active & (stalled | (state.step + 1 >= self.steps))
        fooled = state.fooled | fools
        high = jnp.where(over & fooled, jnp.minimum(state.high, state.c), state.high)
        low = jnp.where(over & ~fooled, jnp.maximum(state.low, state.c), state.low)
        c = jnp.where(jnp.isinf(high), 10 * state.c, (low + high) / 2)
        renew = _per_image(over)
        return State(
            w=renew(w0, state.w - self.lr * update),
            moments=jax.tree.map(renew, jax.vmap(adam.init)(w0), moments),
            step=renew(0, state.step + 1),
            cost=renew(jnp.inf, jnp.where(look, cost, state.cost)),
            fooled=renew(False, fooled),
            round=state.round + over,
            c=renew(c, state.c),
            low=low,
            high=high,
            best=_per_image(better)(x_adv, state.best),
            size=jnp.where(better, size, state.size),
            gradients=state.gradients + active,
        )

    def done(self, state: State) -> Array:
        """Images whose last round is over."""
        return state.round >= self.rounds

    def _slope(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> tuple[Array, Any]:
        """Gradient of each image's cost in w; the image, its margin, squared L2 and cost."""

        def total(w: Array) -> tuple[Array, Any]:
            x_adv = _image(threat, x, w)
            gain = jax.vmap(losses(self.targets)["margin"])(model(x_adv), y)
            size = jnp.square(x_adv - x).sum((1, 2, 3))
            cost = size + state.c * jnp.maximum(self.confidence - gain, 0.0)
            return cost.sum(), (x_adv, gain, size, cost)

        slope: tuple[Array, Any] = jax.grad(total, has_aux=True)(state.w)
        return jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0.0), slope[0]), slope[1]


def _per_image(mask: Array) -> Any:
    """`where(mask, new, old)` for arrays of any rank with leading axis B."""
    return lambda new, old: jnp.where(mask.reshape(-1, *[1] * (old.ndim - 1)), new, old)


def _image(threat: Threat, x0: Array, w: Array) -> Array:
    """The change of variables; past the interval it is clipped, with the slope let through so that none gets stuck."""
    low, high = threat.reach(x0)
    x = (low + high) / 2 + SLACK * (high - low) / 2 * jnp.tanh(w)
    return x + jax.lax.stop_gradient(jnp.clip(x, low, high) - x)


@jax.jit
def _begin(attack: CW, threat: Threat, x: Array, keys: Array) -> State:
    low, high = threat.reach(x)
    begin = jax.vmap(threat.start)(keys, x) if attack.start == "uniform" else x
    w = jnp.arctanh((begin - (low + high) / 2) / jnp.maximum(SLACK * (high - low) / 2, 1e-12))
    zero, inf, no = jnp.zeros(len(x), jnp.int32), jnp.full(len(x), jnp.inf), jnp.zeros(len(x), bool)
    c = jnp.full(len(x), attack.c, jnp.float32)
    return State(w, jax.vmap(adam.init)(w), zero, inf, no, zero, c, 0 * c, inf, x, inf, zero)


@jax.jit
def _nearest(threat: Threat, x: Array, best: Array) -> Array:
    """The best image, or where that lies outside the ball, the allowed one towards it."""
    return jax.vmap(threat.project)(x, best)
