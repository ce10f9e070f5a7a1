"""Carlini & Wagner's Linf attack (2017, arXiv 1608.04644): minimum-Linf perturbation.

    minimise over w   c max(-margin(x(w)), 0) + sum max(|x(w) - x0| - tau, 0),   x(w) = middle + half tanh(w)

by Adam. Once the cost is nearly 0, tau is lowered and the next attempt begins where this one ended; when an attempt
fails, c doubles. Every image goes through its attempts at its own pace.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from advbench.attacks.base import Proposal, Targeted
from advbench.attacks.loop import iterate
from advbench.attacks.losses import losses
from advbench.attacks.minimum import Best, squash, unsquash
from advbench.attacks.rows import per_image
from advbench.attacks.selection import beyond, look, passes
from advbench.core.model import Model
from advbench.core.threat import Threat

ENDLESS = 2**30  # steps: each image ends when its c or its tau does
adam = optax.scale_by_adam()


class State(NamedTuple):
    """Per image: descent of this attempt, its weights, best so far. Every leaf has leading axis B."""

    w: Array
    moments: optax.OptState
    start: Array  # of this attempt: the end of the last successful one
    step: Array
    c: Array
    tau: Array
    best: Best
    gradients: Array


class CWLinf(Targeted):
    """Minimum-norm attack in Linf; the defaults are those of the authors' code.

    Parameters
    ----------
    steps
        Largest number of descent steps in each attempt, at least 1.
    lr
        Adam's learning rate in the tanh space, above 0.
    c
        First weight of the margin, above 0.
    c_largest
        Weight of the margin above which the attack gives up.
    c_factor
        Factor by which c grows when an attempt fails, above 1.
    tau_factor
        Factor by which tau, the change that costs nothing, shrinks after a success, between 0 and 1.
    tau_smallest
        Value of tau at which the attack ends, white being 1, above 0.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(CWLinf(steps=500))
    'cw-linf:steps=500'
    """

    norms = ("linf",)
    cost = "up to 74,000 gradients"
    paper = "Carlini & Wagner 2017, arXiv 1608.04644"

    steps: int = 1000
    lr: float = 0.005
    c: float = 1e-5
    c_largest: float = 20.0
    c_factor: float = 2.0
    tau_factor: float = 0.9
    tau_smallest: float = 1 / 256

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.steps < 1 or not min(self.lr, self.c, self.tau_smallest) > 0:
            raise ValueError("CWLinf needs steps >= 1, lr > 0, c > 0 and tau_smallest > 0")
        if not self.c_factor > 1 or not 0 < self.tau_factor < 1:
            raise ValueError("CWLinf needs c_factor > 1 and tau_factor between 0 and 1, else it would never end")
        if self.restarts > 1:
            raise ValueError("CWLinf has no random part: restarts would all be the same")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = _begin(self, x)._replace(best=Best.none(model, x, y))
        ended: State = iterate(self, model, threat, x, y, begun, ENDLESS)
        return ended.best.proposal(model, threat, x, y, ended.gradients * passes(model), ended.gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Take one step of Adam on every image, and begin the next attempt of those whose attempt ended."""

        def total(w: Array) -> tuple[Array, Any]:
            x_adv = squash(w, 0.0, 1.0)
            logits = model(x_adv)
            seen = look(model, x_adv, y, logits)
            gain = beyond(jax.vmap(losses(self.targets)["margin"])(logits, y), seen)
            outside = jnp.maximum(jnp.abs(x_adv - x) - state.tau[:, None, None, None], 0.0).sum((1, 2, 3))
            cost = state.c * jnp.maximum(-gain, 0.0) + outside
            return cost.sum(), (x_adv, gain, cost, seen)

        g, (x_adv, gain, cost, seen) = jax.grad(total, has_aux=True)(state.w)
        update, moments = jax.vmap(adam.update)(jnp.where(jnp.isfinite(g), g, 0.0), state.moments)
        active = ~self.done(state)
        size = jnp.abs(x_adv - x).max((1, 2, 3))
        succeeds = active & (cost < 1e-4 * state.c)
        fails = active & ~succeeds & (state.step + 1 >= self.steps)
        start = per_image(succeeds)(state.w, state.start)
        renew = per_image(succeeds | fails)
        return State(
            w=renew(start, state.w - self.lr * update),
            moments=jax.tree.map(renew, jax.vmap(adam.init)(start), moments),
            start=start,
            step=renew(0, state.step + 1),
            c=jnp.where(fails, self.c_factor * state.c, state.c),
            tau=jnp.where(succeeds, self.tau_factor * jnp.minimum(state.tau, size), state.tau),
            best=state.best.or_nearer(x_adv, size, active & (gain > 0)).or_surer(threat, x, x_adv, seen, active),
            gradients=state.gradients + active,
        )

    def done(self, state: State) -> Array:
        """Mark images whose tau is small enough, or whose c has grown too large."""
        return (state.tau <= self.tau_smallest) | (state.c >= self.c_largest)


@jax.jit
def _begin(attack: CWLinf, x: Array) -> State:
    w, one = unsquash(x, 0.0, 1.0), jnp.ones(len(x))
    zero, best = jnp.zeros(len(x), jnp.int32), Best(x, jnp.inf * one)
    return State(w, jax.vmap(adam.init)(w), w, zero, attack.c * one, one, best, zero)
