"""Auto-PGD (Croce & Hein 2020, arXiv 2003.01690): projected ascent with momentum that sets its own step size.

At checkpoints, which come closer together over time, an image whose loss rose in too few steps, or whose best loss has
not improved since the last checkpoint, returns to its best point and halves its step. L1 has other rules (Croce & Hein
2021, arXiv 2103.01208): see `apgd_l1`. Every image keeps its own step size and counts.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.apgd_l1 import SparseStepSize
from advbench.attacks.base import Proposal, Targeted, setting
from advbench.attacks.loop import iterate
from advbench.attacks.losses import input_gradient, losses
from advbench.attacks.rows import filled
from advbench.attacks.selection import (
    Choice,
    choice,
    consider,
    proposal,
    settled,
)
from advbench.core.model import Model
from advbench.core.norms import TINY
from advbench.core.threat import Threat

MOMENTUM = 0.75  # weight of the new step; the rest is the previous one


class Iterate(NamedTuple):
    """An image with its loss and input gradient."""

    x: Array
    g: Array
    loss: Array


class StepSize(NamedTuple):
    """Step size of one image in Linf and L2. Counts are since its last checkpoint."""

    size: Array  # of a step, in units of eps
    window: Array  # steps from checkpoint to checkpoint
    steps: Array
    rises: Array  # of the loss
    halved: Array  # at the last checkpoint
    best: Array  # loss then

    @classmethod
    def begin(cls, steps: Array | int) -> "StepSize":
        size, window = jnp.float32(2), jnp.int32(_share(22, steps))
        return cls(size, window, jnp.int32(-1), jnp.int32(0), jnp.bool_(True), jnp.float32(-jnp.inf))

    def update(self, attack: "APGD", x0: Array, best: Iterate, rose: Array) -> tuple["StepSize", Array]:
        """Update the step size, and tell whether to return to the best point."""
        steps, rises = self.steps + 1, self.rises + rose
        due = steps == self.window
        stuck = (rises <= attack.rho * steps) | (~self.halved & (best.loss <= self.best))
        narrower = jnp.maximum(self.window - _share(3, attack.steps), _share(6, attack.steps))
        later = StepSize(jnp.where(stuck, self.size / 2, self.size), narrower, 0 * steps, 0 * rises, stuck, best.loss)
        return _where(due, later, self._replace(steps=steps, rises=rises)), due & stuck

    def move(self, threat: Threat, x0: Array, here: Iterate, last: Array, first: Array) -> Array:
        """Take an ascent step, mixed with the previous step."""
        ascended = threat.project(x0, here.x + self.size * threat.eps * threat.norm.steepest(here.g))
        new = jnp.where(first, 1.0, MOMENTUM)
        return threat.project(x0, here.x + new * (ascended - here.x) + (1 - new) * (here.x - last))


class State(NamedTuple):
    """Per image: its position, the start of its last step, its best point, and its step size."""

    x: Array
    last: Array  # after a return the best point, as in the authors' code: the abandoned path gives no momentum
    loss: Array  # of the previous iterate, abandoned or not
    best: Iterate
    step_size: StepSize | SparseStepSize
    misclassified: Array
    gradients: Array
    chosen: Choice | None = None


class APGD(Targeted):
    """Auto-PGD with the published settings; losses as in AutoAttack: ce, or dlr aimed at classes.

    Parameters
    ----------
    steps
        Ascent steps, at least 1, or 4 with large_eps.
    rho
        Share of steps that must raise the loss, between 0 and 1; with fewer the step is halved.
    keep
        Leave a misclassified image unchanged; where another model judges, see `selection`.
    loss
        Loss to maximise: cross-entropy, margin (Carlini-Wagner) or DLR.
    large_eps
        L1 only: begin in balls 3 and 2 times as large, for 30 % of the steps each.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> APGD(steps=10)(model, linf, x, y, keys).claims.tolist()
    [True, True]
    """

    norms = ("linf", "l2", "l1")
    cost = "101 gradients"
    paper = "Croce & Hein 2020, arXiv 2003.01690"
    stops = True

    steps: int = 100
    rho: float = 0.75
    keep: bool = True
    loss: Literal["ce", "margin", "dlr"] = setting(default="ce")
    large_eps: bool = setting(default=False)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.large_eps and threat.norm.name != "l1":
            raise ValueError(f"APGD has large_eps in l1 only, not in {threat.norm.name}")
        if self.steps < (4 if self.large_eps else 1) or not 0 < self.rho < 1:
            raise ValueError("APGD needs steps >= 1 (4 with large_eps) and rho between 0 and 1")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        third = -(-3 * self.steps // 10)
        stages = ((3.0, third), (2.0, third), (1.0, self.steps - 2 * third)) if self.large_eps else ((1.0, self.steps),)
        best = _start(replace(threat, eps=stages[0][0] * threat.eps), x, keys)
        gradients, chosen = filled(x, 0, np.int32), choice(model, x, y)
        for factor, steps in stages:
            attack = replace(self, steps=steps, keep=self.keep & (factor == 1))
            wide = replace(threat, eps=factor * threat.eps)
            begun = _begin(attack, wide, x, best)._replace(chosen=chosen if factor == 1 else None)
            ended = iterate(attack, model, wide, x, y, begun, steps + 1)
            best, gradients = ended.best.x, ended.gradients if len(stages) == 1 else gradients + ended.gradients
        return proposal(ended.chosen, model, best, y, ended.misclassified, gradients, gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Evaluate the loss where each image is, then move it; misclassified images stay."""
        loss = losses(self.targets)[self.loss]
        g, logits = input_gradient(model, loss, state.x, y)
        here = Iterate(state.x, jnp.where(jnp.isfinite(g), g, 0.0), jax.vmap(loss)(logits, y))
        succeeds = settled(model, logits, y) & self.keep
        after: State = jax.vmap(self._advance, (None, 0, 0, 0, 0))(threat, x, here, succeeds, state)
        return after._replace(chosen=consider(state.chosen, model, state.x, y, logits, path=True))

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified

    def _advance(self, threat: Threat, x0: Array, here: Iterate, succeeds: Array, state: State) -> State:
        best = _where(succeeds | (here.loss > state.best.loss), here, state.best)
        step_size, restart = state.step_size.update(self, x0, best, here.loss > state.loss)
        begin = _where(restart, best, here)
        x = step_size.move(threat, x0, begin, state.last, state.gradients == 0)
        moved = State(x, begin.x, here.loss, best, step_size, succeeds, state.gradients + 1, state.chosen)
        after: State = _where(state.misclassified, state, moved)
        return after


def _share(percent: int, steps: Array | int) -> Array:
    return jnp.maximum(percent * steps // 100, 1)


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


@jax.jit
def _start(threat: Threat, x: Array, keys: Array) -> Array:
    """Draw images on the surface of the ball; in L1 projections of Gaussian noise, which are sparse."""

    def edge(key: Array, x: Array) -> Array:
        if threat.norm.name == "l1":
            return threat.project(x, x + jax.random.normal(key, x.shape))
        d = threat.norm.sample(key, x)
        return threat.project(x, x + threat.eps * d / jnp.maximum(threat.norm.length(d), TINY))

    return jax.vmap(edge)(keys, x)


@jax.jit
def _begin(attack: APGD, threat: Threat, x: Array, begin: Array) -> State:
    def one(x0: Array, x: Array) -> State:
        x = threat.project(x0, x)
        step_size = (
            SparseStepSize.begin(x0, x, attack.large_eps) if threat.norm.name == "l1" else StepSize.begin(attack.steps)
        )
        best = Iterate(x, jnp.zeros_like(x), jnp.float32(-jnp.inf))
        return State(x, x, jnp.float32(jnp.inf), best, step_size, jnp.bool_(False), jnp.int32(0))

    return jax.vmap(one)(x, begin)
