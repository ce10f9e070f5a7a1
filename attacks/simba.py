"""SimBA, the simple black-box attack (Guo, Gardner, You, Wilson & Weinberger 2019, arXiv 1905.07121).

    for each direction q of an orthonormal basis, in random order:
        try x + step q, else x - step q;  keep what lowers the label's probability

The basis is single pixels, or that of the discrete cosine transform, from the lowest frequencies up. After the last
direction it begins again. The result is projected into the ball at every query.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import (
    Proposal,
    Targeted,
    TargetedLabels,
    setting,
)
from advbench.attacks.loop import iterate_compacting
from advbench.attacks.rows import filled, kept_inside, per_image
from advbench.attacks.selection import (
    Choice,
    choice,
    consider,
    proposal,
    settled,
)
from advbench.core.model import Model
from advbench.core.threat import Threat

LOWEST = 1 / 8  # share of the frequencies along a side that come first, in random order
SHELL = 1 / 32  # share in each further group


class State(NamedTuple):
    """Best image so far, position in the search, and cost. Every leaf has leading axis B."""

    x: Array
    loss: Array
    misclassified: Array
    turn: Array  # twice the place in the order of directions; odd when it goes backwards
    queries: Array
    chosen: Choice | None


class SimBA(Targeted):
    """Coordinate-wise random search; the defaults are the authors'.

    Parameters
    ----------
    queries
        Query limit per image, at least 1.
    step_size
        Length of a step, white being 1, above 0.
    basis
        Directions of the search: single pixel values, or cosines of the DCT.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(SimBA(basis="dct"))
    'simba:basis=dct'
    """

    norms = ("l2",)
    access = "score"
    cost = "10,000 queries"
    paper = "Guo et al. 2019, arXiv 1905.07121"
    stops = True
    steady = True

    queries: int = 10_000
    step_size: float = 0.2
    basis: Literal["pixel", "dct"] = setting(default="pixel")

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.queries < 1 or not self.step_size > 0:
            raise ValueError("SimBA needs queries >= 1 and step_size > 0")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        order, begun = _begin(self, x, keys)
        begun = begun._replace(chosen=choice(model, x, y))
        ended = iterate_compacting(self, model, threat, x, (y, order), begun, self.queries)
        none = filled(x, 0, np.int32)
        found = proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.queries, none)
        return found._replace(x=kept_inside(threat, x, found.x))

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Spend one query on every image: the first on the clean one, each other on a step along a direction."""
        y, order = y
        tried = jax.vmap(self._move, (None, 0, 0, 0, 0))(threat, x, state.x, state.turn, order)
        first = state.queries == 0
        tried = per_image(first)(x, tried)
        logits = model(tried)
        odds, succeeds = _odds_of if self.targets else _odds_against, settled(model, logits, y)
        loss = jax.vmap(odds)(logits, y)
        better = ~state.misclassified & ((loss > state.loss) | succeeds)
        onwards = jnp.where(better, 2 - state.turn % 2, 1)  # after a success, no need to go backwards
        return State(
            per_image(better)(tried, state.x),
            jnp.where(better, loss, state.loss),
            state.misclassified | succeeds,
            jnp.where(first, 0, state.turn + onwards),
            state.queries + ~state.misclassified,
            consider(state.chosen, model, tried, y, logits, better),
        )

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified

    def _move(self, threat: Threat, x0: Array, x: Array, turn: Array, order: Array) -> Array:
        """Step one image forwards or backwards along its next direction."""
        height, width, channels = x.shape
        which = order[turn // 2 % order.size]
        row, column, channel = which // (width * channels), which // channels % width, which % channels
        tall, wide = (_basis(self.basis, n)[at] for n, at in ((height, row), (width, column)))
        q = tall[:, None, None] * wide[:, None] * (jnp.arange(channels) == channel)
        return threat.project(x0, x + jnp.where(turn % 2, -self.step_size, self.step_size) * q)


def _odds_against(logits: Array, label: Array) -> Array:
    """Log odds against the label: ordered as its probability, but still distinct where that rounds to 1."""
    wrong = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
    return jax.nn.logsumexp(wrong) - logits[label]


def _odds_of(logits: Array, loss_reference: TargetedLabels) -> Array:
    return -_odds_against(logits, loss_reference.target)


def _basis(name: str, n: int) -> Array:
    """Return an orthonormal basis of n values, a vector in each row: unit vectors or the cosines of the DCT-II."""
    if name == "pixel":
        return jnp.eye(n)
    k, i = np.arange(n)[:, None], np.arange(n)
    scale = np.where(k == 0, np.sqrt(1 / n), np.sqrt(2 / n))
    return jnp.asarray(scale * np.cos(np.pi * (2 * i + 1) * k / (2 * n)), jnp.float32)


@jax.jit
def _begin(attack: SimBA, x: Array, keys: Array) -> tuple[Array, State]:
    """Draw each image's order of directions, and begin before the first query."""
    _, height, width, channels = x.shape
    frequency = np.maximum(np.arange(height)[:, None] / height, np.arange(width) / width)
    shell = np.zeros((height, width))
    if attack.basis == "dct":
        shell = np.ceil((frequency - LOWEST) / SHELL).clip(0)
    rank = np.repeat(shell.ravel(), channels)
    order = jax.vmap(lambda key: jnp.argsort(rank + jax.random.uniform(key, rank.shape)))(keys)
    zero, no = jnp.zeros(len(x), jnp.int32), jnp.zeros(len(x), bool)
    return order, State(x, jnp.full(len(x), -jnp.inf, x.dtype), no, zero, zero, None)
