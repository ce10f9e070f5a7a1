"""Elastic-net attack (Chen, Sharma, Zhang, Yi & Hsieh 2018, arXiv 1709.04114): few and small changes.

    minimise over x   c max(confidence - margin(x), 0) + |x - x0|^2 + beta |x - x0|_1   in the pixel box

by accelerated shrinkage-thresholding (FISTA), in rounds that search for the smallest sufficient c, each image at its
own pace.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Proposal, Targeted, setting
from advbench.attacks.loop import iterate
from advbench.attacks.losses import losses
from advbench.attacks.minimum import (
    Best,
    NormSearch,
    advance,
    search,
)
from advbench.attacks.rows import filled, per_image, scaled
from advbench.attacks.selection import beyond, look, passes
from advbench.core.model import Model
from advbench.core.threat import Threat


class State(NamedTuple):
    """Per image: descent of this round, search over c, best so far."""

    x: Array
    ahead: Array  # where the gradient is taken: `x` with momentum
    search: NormSearch
    best: Best
    gradients: Array


class EAD(Targeted):
    """Minimum-norm attack in L1; the defaults are those of the authors' experiments, except for `rule`.

    The authors take the adversarial image of the smallest elastic net. Here the threat model is a ball in L1, for which
    that of the smallest L1 is best; `rule=en` is theirs.

    Parameters
    ----------
    rounds
        Rounds of the search over c, at least 1.
    steps
        Largest number of descent steps in each round, at least 1.
    lr
        First learning rate, above 0; it decreases to 0 as a square root.
    beta
        Weight of L1, at least 0; every step also shrinks the changes by it, as in the authors' code.
    c
        First weight of the margin, above 0.
    confidence
        Margin to reach, in logits, at least 0.
    rule
        Criterion for the best image: L1 alone, or the elastic net.
    abort_early
        End a round whose cost stalls; this costs quality, since shrinkage stalls often.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(EAD(beta=0.001))
    'ead:beta=0.001'
    """

    norms = ("l1",)
    cost = "9,000 gradients and as many more forward passes"
    paper = "Chen et al. 2018, arXiv 1709.04114"

    rounds: int = 9
    steps: int = 1000
    lr: float = 0.01
    beta: float = 0.01
    c: float = 1e-3
    confidence: float = 0.0
    rule: Literal["l1", "en"] = setting(default="l1")
    abort_early: bool = setting(default=False)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if min(self.rounds, self.steps) < 1 or not min(self.lr, self.c) > 0 or min(self.beta, self.confidence) < 0:
            raise ValueError("EAD needs rounds >= 1, steps >= 1, lr > 0, c > 0, beta >= 0 and confidence >= 0")
        if self.restarts > 1:
            raise ValueError("EAD has no random part: restarts would all be the same")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        best, count = Best.none(model, x, y), filled(x, 0, np.int32)
        begun = State(x, x, search(self, x), best, count)
        ended: State = iterate(self, model, threat, x, y, begun, self.rounds * self.steps)
        forwards = 2 * ended.gradients * passes(model)
        return ended.best.proposal(model, threat, x, y, forwards, ended.gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Take one step of FISTA on every image, and begin the next round of those whose round ended."""
        margin, now, active = losses(self.targets)["margin"], state.search, ~self.done(state)

        def total(ahead: Array) -> tuple[Array, Array]:
            logits = model(ahead)
            missing = self.confidence - beyond(jax.vmap(margin)(logits, y), look(model, ahead, y, logits))
            cost = now.c * jnp.maximum(missing, 0.0) + jnp.square(ahead - x).sum((1, 2, 3))
            return cost.sum(), cost + self.beta * jnp.abs(ahead - x).sum((1, 2, 3))

        g, cost = jax.grad(total, has_aux=True)(state.ahead)
        lr = self.lr * jnp.sqrt(1 - now.step / self.steps)
        d = state.ahead - scaled(lr, jnp.where(jnp.isfinite(g), g, 0.0)) - x
        x_new = jnp.clip(x + jnp.sign(d) * jnp.maximum(jnp.abs(d) - self.beta, 0.0), 0.0, 1.0)
        ahead = x_new + scaled(now.step / (now.step + 3), x_new - state.x)

        logits = model(x_new)
        seen = look(model, x_new, y, logits)
        succeeds = active & (beyond(jax.vmap(margin)(logits, y), seen) > self.confidence)
        l1 = jnp.abs(x_new - x).sum((1, 2, 3))
        size = l1 if self.rule == "l1" else self.beta * l1 + jnp.square(x_new - x).sum((1, 2, 3))
        searched, over = advance(self, now, succeeds, cost)
        renew = per_image(over)
        return State(
            renew(x, x_new),
            renew(x, ahead),
            searched,
            state.best.or_nearer(x_new, size, succeeds).or_surer(threat, x, x_new, seen, active),
            state.gradients + active,
        )

    def done(self, state: State) -> Array:
        """Mark images whose last round has ended."""
        return state.search.round >= self.rounds
