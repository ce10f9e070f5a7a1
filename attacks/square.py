"""Square attack (Andriushchenko, Croce, Flammarion & Hein 2020, arXiv 1912.00049): random search with squares.

    x <- start;  repeat: try x with a random square changed;  keep it if the loss grew or the image is misclassified

In Linf a square moves to a random corner of the cube. In L2 and L1 it takes over the mass of another square, in the
shape of two opposite pyramids. Squares shrink as queries pass. Each image draws its own squares, by masks of positions
instead of slices, so that one program serves all sizes and images.
"""

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Proposal, Targeted, setting
from advbench.attacks.loop import iterate_compacting
from advbench.attacks.losses import losses
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

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # tries after which the squares' area halves
TILES = 5  # pyramids along each side of the start under L2 and L1


class State(NamedTuple):
    """Best image so far, its loss, and cost. Every leaf has leading axis B."""

    x: Array
    loss: Array
    misclassified: Array
    queries: Array
    chosen: Choice | None


class Square(Targeted):
    """Random search along squares; the defaults are those of AutoAttack.

    Parameters
    ----------
    queries
        Query limit per image, at least 1.
    p_init
        Share of the image that the first squares cover, above 0, at most 1.
    loss
        Loss to maximise: margin (Carlini-Wagner), cross-entropy or DLR.
    rescale
        Fit the schedule of square sizes, made for 10,000 queries, to `queries`.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> Square(queries=50)(model, linf, x, y, keys).claims.tolist()
    [True, True]
    """

    norms = ("linf", "l2", "l1")
    access = "score"
    cost = "5,000 queries"
    paper = "Andriushchenko et al. 2020, arXiv 1912.00049"
    stops = True
    steady = True

    queries: int = 5000
    p_init: float = setting(default=0.8)
    loss: Literal["margin", "ce", "dlr"] = setting(default="margin")
    rescale: bool = setting(default=False)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.queries < 1 or not 0 < self.p_init <= 1:
            raise ValueError("Square needs queries >= 1 and 0 < p_init <= 1")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = _begin(self, threat, x, keys)._replace(chosen=choice(model, x, y))
        ended = iterate_compacting(self, model, threat, x, (y, keys), begun, self.queries)
        none = filled(x, 0, np.int32)
        found = proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.queries, none)
        return found._replace(x=kept_inside(threat, x, found.x))

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Spend one query on every image: the first on its start, each other on one more square."""
        y, keys = y
        tried = jax.vmap(self._change, (None, 0, 0, 0, 0))(threat, x, state.x, state.queries - 1, keys)
        tried = per_image(state.queries == 0)(state.x, tried)
        logits = model(tried)
        loss, succeeds = jax.vmap(losses(self.targets)[self.loss])(logits, y), settled(model, logits, y)
        better = ~state.misclassified & ((loss > state.loss) | succeeds)
        return State(
            per_image(better)(tried, state.x),
            jnp.where(better, loss, state.loss),
            state.misclassified | succeeds,
            state.queries + ~state.misclassified,
            consider(state.chosen, model, tried, y, logits, better),
        )

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified

    def _change(self, threat: Threat, x0: Array, x: Array, tries: Array, key: Array) -> Array:
        """Change one random square of one image."""
        height, width, channels = x.shape
        draws = jax.random.bits(jax.random.fold_in(key, tries), (5 + channels,))
        signs = jnp.where(draws[5:] >> 31, 1.0, -1.0)
        time = jnp.floor(tries * (10_000 / self.queries)) if self.rescale else tries
        stage = (time > jnp.array(HALVINGS)).sum()
        sides = _sides(self.p_init, height, width, threat.norm.name)
        side = jnp.array(sides)[stage]
        square, i, j = _square(height, width, side, draws[:2])
        if threat.norm.name == "linf":
            return jnp.clip(x + jnp.where(square, 2 * threat.eps * signs, 0.0), *threat.pixel_bounds(x0))

        power = 2 if threat.norm.name == "l2" else 1

        def mass(d: Array) -> Array:
            return (jnp.abs(d) ** power).sum((0, 1))  # of each channel

        i, j = _turned(draws[4], i, j)
        pyramids = jnp.array(_pyramids(sides, power))
        pyramid = pyramids[stage, jnp.clip(i, 0, side - 1), jnp.clip(j, 0, side - 1)]
        donor, _, _ = _square(height, width, side, draws[2:4])
        d = x - x0
        unspent = jnp.maximum(threat.eps**power - mass(d).sum(), 0.0)  # mass that the pixel box cut off
        new = pyramid * signs + d / (1e-12 + mass(jnp.where(square, d, 0.0)) ** (1 / power))
        new = jnp.where(square, new, 0.0)
        budget = unspent / channels + mass(jnp.where(square | donor, d, 0.0))
        new = new * (budget / (1e-12 + mass(new))) ** (1 / power)
        if threat.norm.name == "l1":  # as the authors do; the projection removes the excess
            return threat.project(x0, x0 + jnp.where(square, new * channels, jnp.where(donor, 0.0, d)))
        return _stretched(threat, x0, jnp.where(square, new, jnp.where(donor, 0.0, d)))


def _stretched(threat: Threat, x0: Array, d: Array) -> Array:
    """Move `x0` by eps along `d`, then clip to the pixel box."""
    return jnp.clip(x0 + d * (threat.eps / (1e-12 + threat.norm.length(d))), 0.0, 1.0)


def _square(height: int, width: int, side: Array, draws: Array) -> tuple[Array, Array, Array]:
    """Return the mask of a random square, and coordinates relative to its corner."""
    room = jnp.stack([height - side + 1, width - side + 1]).astype(draws.dtype)
    top, left = (draws % room).astype(jnp.int32)
    i, j = jnp.arange(height)[:, None, None] - top, jnp.arange(width)[:, None] - left
    return (i >= 0) & (i < side) & (j >= 0) & (j < side), i, j


def _turned(draw: Array, i: Any, j: Any) -> tuple[Array, Array]:
    """Swap rows and columns with probability 1/2."""
    turn = (draw >> 31).astype(bool)
    return jnp.where(turn, j, i), jnp.where(turn, i, j)


def _sides(p: float, height: int, width: int, norm: str) -> tuple[int, ...]:
    """Return the side of the square at each stage: round(sqrt(p H W)), in L2 and L1 odd and at least 3."""
    sides = [max(round((p / 2**stage * height * width) ** 0.5), 1) for stage in range(len(HALVINGS) + 1)]
    if norm != "linf":
        sides = [max(side, 3) // 2 * 2 + 1 for side in sides]
    return tuple(min(side, height, width) for side in sides)


@lru_cache(maxsize=64)
def _pyramids(sides: tuple[int, ...], power: int) -> np.ndarray:
    """Build for each side two pyramids of opposite signs, one above the other, together of norm 1; padded."""
    stack = np.zeros((len(sides), max(sides), max(sides)), np.float32)
    for room, side in zip(stack, sides, strict=True):
        both = np.concatenate([_pyramid(side // 2, side, power), -_pyramid(side - side // 2, side, power)])
        room[:side, :side] = both / np.linalg.norm(both.ravel(), power)
    return stack


def _pyramid(height: int, width: int, power: int) -> np.ndarray:
    """Build a pyramid of norm 1, highest in the middle: on ring r the sum of 1 / k^2 (L1: 1 / k^4) over k > r."""
    ring = np.maximum(abs(np.arange(height) - height // 2)[:, None], abs(np.arange(width) - width // 2))
    terms = np.arange(1.0, max(height, width) // 2 + 2) ** (-2 if power == 2 else -4)
    pyramid = terms[::-1].cumsum()[::-1][ring]
    return np.asarray(pyramid / max(np.linalg.norm(pyramid.ravel(), power), 1e-12))


@jax.jit
def _begin(attack: Square, threat: Threat, x: Array, keys: Array) -> State:
    """Begin with stripes of random signs in Linf; in L2 and L1 with tiles of pyramids."""
    start = jax.vmap(_stripes if threat.norm.name == "linf" else _tiles, (None, 0, 0))
    never = jnp.full(len(x), -jnp.inf, x.dtype)
    return State(start(threat, x, keys), never, jnp.zeros(len(x), bool), jnp.zeros(len(x), jnp.int32), None)


def _stripes(threat: Threat, x0: Array, key: Array) -> Array:
    signs = jax.random.rademacher(key, (1, *x0.shape[1:]), x0.dtype)
    return jnp.clip(x0 + threat.eps * signs, 0.0, 1.0)


def _tiles(threat: Threat, x0: Array, key: Array) -> Array:
    height, width, channels = x0.shape
    side = max(height // TILES, 1)
    i, j = (np.arange(n) - n % side // 2 for n in (height, width))  # as many tiles as fit, centred
    whole = ((i >= 0) & (i < height // side * side))[:, None] & (j >= 0) & (j < width // side * side)
    tile = np.ix_(i // side, j // side)
    signs, turns = jax.random.split(key)
    signs = jax.random.rademacher(signs, (height, width, channels), x0.dtype)[tile]
    turns = jax.random.bits(turns, (height, width))[tile]
    pyramid = jnp.array(_pyramids((side,), 2 if threat.norm.name == "l2" else 1))[0]
    pyramid = pyramid[_turned(turns, i[:, None] % side, j % side)]
    d = jnp.where(whole[..., None], pyramid[..., None] * signs, 0.0)
    return threat.project(x0, x0 + d) if threat.norm.name == "l1" else _stretched(threat, x0, d)
