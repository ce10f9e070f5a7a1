"""SPSA (Uesato, O'Donoghue, van den Oord & Kohli 2018, arXiv 1802.05666): ascent along an estimated gradient.

    g <- mean over random signs v of  (f(x + delta v) - f(x - delta v)) / (2 delta) v;   x <- project(x + Adam(g))

where f is the margin. One query of every image at a time, so that memory does not grow with the samples.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from advbench.attacks.base import Proposal, Targeted, setting
from advbench.attacks.loop import iterate_compacting
from advbench.attacks.losses import losses
from advbench.attacks.rows import filled, per_image, scaled
from advbench.attacks.selection import (
    Choice,
    choice,
    consider,
    proposal,
    settled,
)
from advbench.core.model import Model
from advbench.core.threat import Threat

adam = optax.scale_by_adam()


class State(NamedTuple):
    """Per image: position, gradient estimate so far, and cost. Every leaf has leading axis B."""

    x: Array
    moments: optax.OptState
    g: Array
    here: Array  # the loss at x
    misclassified: Array
    queries: Array
    chosen: Choice | None


class SPSA(Targeted):
    """Gradient-free ascent; the defaults are those of the authors' code.

    The paper's strongest runs take many times as many samples a step: raise `samples` if the query limit allows.

    Parameters
    ----------
    steps
        Ascent steps, at least 1.
    samples
        Queries for each gradient estimate, an even number, since they come in pairs.
    delta
        Distance of the samples from the image, white being 1, above 0.
    lr
        Adam's learning rate, white being 1, above 0.
    loss
        Loss to maximise: margin (Carlini-Wagner), cross-entropy or DLR.
    start
        Start of the ascent: a random image in the ball, or the clean image.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(SPSA(samples=1024))
    'spsa:samples=1024'
    """

    norms = ("linf",)
    access = "score"
    cost = "12,900 queries"
    paper = "Uesato et al. 2018, arXiv 1802.05666"
    stops = True

    steps: int = 100
    samples: int = 128
    delta: float = 0.01
    lr: float = 0.01
    loss: Literal["margin", "ce", "dlr"] = setting(default="margin")
    start: Literal["uniform", "clean"] = setting(default="uniform")

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"SPSA needs an even number of samples, not {self.samples}: they come in pairs")
        if self.steps < 1 or not min(self.delta, self.lr) > 0:
            raise ValueError("SPSA needs steps >= 1, delta > 0 and lr > 0")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = _begin(self, threat, x, keys)._replace(chosen=choice(model, x, y))
        # One more query evaluates the image of the last step.
        ended = iterate_compacting(self, model, threat, x, (y, keys), begun, self.steps * (self.samples + 1) + 1)
        return proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.queries, filled(x, 0, np.int32))

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Spend one query on every image: at x itself, then at the samples around it; after the last, move."""
        y, keys = y
        sample = state.queries % (self.samples + 1)  # 0: x itself
        sign = jnp.where(sample == 0, 0.0, jnp.where(sample % 2, 1.0, -1.0))
        v = jax.vmap(_signs, (0, 0, None))(keys, state.queries + sample % 2, x.shape[1:])
        logits = model(state.x + scaled(sign * self.delta, v))
        loss = jax.vmap(losses(self.targets)[self.loss])(logits, y)
        here = jnp.where(sample == 0, loss, state.here)
        succeeds = state.misclassified | (settled(model, logits, y) & (sample == 0))
        # Subtract the loss at x: it cancels in each pair, but would cost digits.
        rise = sign * (loss - here) / (self.delta * self.samples)
        g = state.g + scaled(jnp.where(jnp.isfinite(rise), rise, 0.0), v)
        chosen = consider(state.chosen, model, state.x, y, logits, sample == 0, path=True)
        gathered = State(state.x, state.moments, g, here, succeeds, state.queries + ~state.misclassified, chosen)
        last = (sample == self.samples) & ~succeeds
        moved: State = jax.lax.cond(last.any(), lambda: self._climb(threat, x, gathered, last), lambda: gathered)
        return moved

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified

    def _climb(self, threat: Threat, x: Array, state: State, which: Array) -> State:
        update, moments = jax.vmap(adam.update)(state.g, state.moments)
        ascended = jax.vmap(threat.project)(x, state.x + self.lr * update)
        new = state._replace(x=ascended, moments=moments, g=jnp.zeros_like(state.g))
        renewed: State = jax.tree.map(per_image(which), new, state)
        return renewed


def _signs(key: Array, draw: Array, shape: tuple[int, ...]) -> Array:
    """Draw random signs; a word of random bits gives 32 of them."""
    size = shape[0] * shape[1] * shape[2]
    words = jax.random.bits(jax.random.fold_in(key, draw), (-(-size // 32), 1))
    bits = words >> jnp.arange(32, dtype=words.dtype) & 1
    return (2.0 * bits - 1.0).ravel()[:size].reshape(shape)


@jax.jit
def _begin(attack: SPSA, threat: Threat, x: Array, keys: Array) -> State:
    begin = jax.vmap(threat.start)(keys, x) if attack.start == "uniform" else x
    zero = jnp.zeros(len(x), jnp.int32)
    return State(begin, jax.vmap(adam.init)(x), 0 * x, jnp.zeros(len(x)), zero > 0, zero, None)
