"""Projected gradient descent (Madry, Makelov, Schmidt, Tsipras & Vladu 2018, arXiv 1706.06083)."""

from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

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
from advbench.core.threat import Threat

JITTER = 1e-3  # deviation of TRADES' start around the clean image, in pixel units


class State(NamedTuple):
    """Per image: position, and cost."""

    x: Array
    misclassified: Array
    gradients: Array
    chosen: Choice | None = None


class PGD(Targeted):
    """Projected steepest ascent on a loss from a random start; the published MNIST settings by default.

    Parameters
    ----------
    steps
        Ascent steps, at least 1.
    rel_step_size
        Length of a step in units of eps, above 0; all steps together must be able to cross the ball.
    loss
        Loss to maximise: cross-entropy, margin (Carlini-Wagner), DLR; "kl" for training by TRADES, "difference" when
        targeted.
    start
        Start of the ascent: a random image in the ball, the clean image, or beside it as in TRADES.
    keep
        Leave a misclassified image unchanged, so that no success is lost.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> found = PGD(steps=10, rel_step_size=0.2)(model, linf, x, y, keys)
    >>> found.claims.tolist(), bool(abs(found.x - x).max() <= 0.2 + 1e-6)
    ([True, True], True)
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    cost = "40 gradients"
    paper = "Madry et al. 2018, arXiv 1706.06083"
    stops = True

    steps: int = 40
    rel_step_size: float = 1 / 30
    loss: Literal["ce", "margin", "dlr", "kl", "difference"] = setting(default="ce")
    start: Literal["uniform", "clean", "jitter"] = setting(default="uniform")
    keep: bool = setting(default=True)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        known = losses(self.targets)
        if self.loss not in known:
            raise ValueError(f"PGD has no loss {self.loss!r} here; it has: {', '.join(known)}")
        if self.steps < 1 or not self.rel_step_size > 0:
            raise ValueError("PGD needs steps >= 1 and rel_step_size > 0")
        if self.steps * self.rel_step_size < 1:
            raise ValueError(
                f"{self.steps} steps of {self.rel_step_size:g} eps can't reach the edge of the ball: "
                "rel_step_size is in units of eps (2/255 at eps 8/255 is 0.25)"
            )

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        zero, chosen = filled(x, 0, np.int32), choice(model, x, y) if self.keep else None
        begun = State(start(self, threat, x, keys), zero > 0, zero, chosen)
        ended = iterate(self, model, threat, x, y, begun, self.steps)
        return proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.gradients, ended.gradients)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Take one ascent step; misclassified images stay."""
        g, logits = input_gradient(model, losses(self.targets)[self.loss], state.x, y)
        done = state.misclassified | (settled(model, logits, y) & self.keep)
        ascended = jax.vmap(threat.step, (0, 0, 0, None))(x, state.x, g, self.rel_step_size)
        return State(
            jnp.where(done[:, None, None, None], state.x, ascended),
            done,
            state.gradients + ~state.misclassified,
            consider(state.chosen, model, state.x, y, logits, path=True),
        )

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified


def start(attack: PGD, threat: Threat, x: Array, keys: Array) -> Array:
    """Return the first iterate of the ascent.

    Parameters
    ----------
    attack : PGD
        Its `start` decides.
    threat : Threat
        Norm ball and pixel box to stay in.
    x : Array
        Clean images, float32 `[B, H, W, C]` in [0, 1].
    keys : Array
        One PRNG key per image.

    Returns
    -------
    Array
        Images within the ball.
    """
    if attack.start == "clean":
        return x
    begun: Array = _drawn(attack, threat, x, keys)
    return begun


@jax.jit
def _drawn(attack: PGD, threat: Threat, x: Array, keys: Array) -> Array:
    if attack.start == "uniform":
        return jax.vmap(threat.start)(keys, x)
    noise = jax.vmap(lambda key, x: JITTER * jax.random.normal(key, x.shape))(keys, x)
    return jax.vmap(threat.project)(x, x + noise)
