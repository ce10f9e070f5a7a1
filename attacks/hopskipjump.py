"""HopSkipJump (Chen, Jordan & Wainwright 2020, arXiv 1904.02144): the smallest perturbation, from decisions alone.

Each iteration starts at the boundary and
    1. estimates its normal: the mean of random probes, signed by whether they are misclassified,
    2. strides along it, as far as the distance over sqrt(t), halved until the image is misclassified,
    3. bisects the way to the clean image, back to the boundary.

A step is one query, of whichever kind each image needs next, so that no image waits for another.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Attack, Proposal
from advbench.attacks.decisions import (
    STARTS,
    fresh,
    interpolate,
    narrow,
    start,
    unit,
)
from advbench.attacks.loop import iterate
from advbench.attacks.minimum import Best
from advbench.attacks.rows import filled, per_image
from advbench.attacks.selection import passes, surely_misclassified
from advbench.core.model import Model
from advbench.core.threat import Threat

PROBE, STRIDE, BISECT = 0, 1, 2
ENDLESS = 2**31 - 1  # no limit on steps: every image ends by itself
SMALLEST = 30  # halvings, of a stride or of an interval: float32 resolves no more


class State(NamedTuple):
    """Per image; every leaf has leading axis B. `x` is always misclassified."""

    x: Array
    phase: Array
    tried: Array  # queries in this phase
    iteration: Array
    probed: Array  # sum of the probes
    signed: Array  # the same with signs
    agreed: Array  # sum of the signs
    normal: Array  # the estimate
    stride: Array
    far: Array  # end of the stride
    reach: Array  # its distance from the clean image
    low: Array
    high: Array
    best: Array
    size: Array
    forwards: Array


class HopSkipJump(Attack):
    """Minimum-norm attack that sees decisions only; the defaults are those published.

    Parameters
    ----------
    steps
        Iterations, at least 1.
    initial_num_evals
        Queries for the first gradient estimate, at least 1; they grow with the square root of the iteration.
    max_num_evals
        Largest number of queries for a gradient estimate, at least 1.
    gamma
        Scale of the bisection's precision and of the probes' length, above 0.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(HopSkipJump(steps=10))
    'hopskipjump:steps=10'
    """

    norms = ("l2", "linf")
    access = "decision"
    starts = STARTS
    cost = "36,000 queries"
    paper = "Chen, Jordan & Wainwright 2020, arXiv 1904.02144"
    steady = True

    steps: int = 64
    initial_num_evals: int = 100
    max_num_evals: int = 10_000
    gamma: float = 1.0

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if min(self.steps, self.initial_num_evals, self.max_num_evals) < 1 or not self.gamma > 0:
            raise ValueError("HopSkipJump needs steps, initial_num_evals and max_num_evals >= 1 and gamma > 0")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begun = start(model, threat, x, y, keys)
        state = _begin(self, threat, x, begun.x, begun.found, begun.forwards)
        ended = iterate(self, model, threat, x, (y, keys), state, ENDLESS)
        best, none = Best(ended.best, jnp.where(begun.found, 0.0, jnp.inf)), filled(x, 0, np.int32)
        return best.proposal(model, threat, x, y, ended.forwards * passes(model), none)._replace(tried=begun.found)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Spend one query on every image, and decide on the next."""
        labels, keys = y
        s, pixels = state, x[0].size
        active = ~self.done(s)
        probing, striding, bisecting = ((s.phase == phase) & active for phase in (PROBE, STRIDE, BISECT))
        size = jax.vmap(threat.length)

        # Chen et al.: 0.1 at first, then sqrt(d) theta |x - x0| in L2 and d theta |x - x0| in Linf
        delta = jnp.where(s.iteration == 1, 0.1, self.gamma * s.reach / pixels)[:, None, None, None]
        noise = jax.random.normal if threat.norm.name == "l2" else _cube
        probe = jax.vmap(lambda key: unit(noise(key, x.shape[1:])))(fresh(keys, s.forwards))
        move = per_image(probing)(delta * probe, s.stride[:, None, None, None] * s.normal)
        back = jax.vmap(interpolate, (None, 0, 0, 0))(threat, x, s.far, (s.low + s.high) / 2)
        query = jnp.clip(per_image(bisecting)(back, s.x + move), 0.0, 1.0)
        hit = surely_misclassified(model, query, labels) & active
        distance = size(x, query)
        better = hit & (distance < s.size)

        probe = per_image(probing)((query - s.x) / jnp.maximum(delta, 1e-12), 0 * x)  # its part within the box
        sign = jnp.where(hit, 1.0, -1.0)
        probed, signed, agreed = s.probed + probe, s.signed + sign[:, None, None, None] * probe, s.agreed + sign
        tried = s.tried + 1
        evals = jnp.minimum(self.initial_num_evals * jnp.sqrt(s.iteration), self.max_num_evals).astype(jnp.int32)
        estimated = probing & (tried >= evals)
        mean = (agreed / tried)[:, None, None, None]
        baseline = jnp.where(jnp.abs(mean) < 1, mean, 0.0)  # reduces variance, unless all probes agree
        normal = jax.vmap(_climb, (None, 0))(threat, signed - baseline * probed)

        landed = striding & (hit | (tried >= SMALLEST))
        halvings = jnp.ceil(jnp.log2(pixels ** (1.5 if threat.norm.name == "l2" else 2.0) / self.gamma))
        returned = bisecting & (tried >= jnp.clip(halvings, 1, SMALLEST))
        low, high = narrow(hit, s.low, s.high)
        at = per_image(hit & ~probing)(query, s.x)
        over = estimated | landed | returned
        return State(
            x=at,
            phase=jnp.where(over, (s.phase + 1) % 3, s.phase),
            tried=jnp.where(over, 0, tried),
            iteration=s.iteration + returned,
            probed=per_image(probing & ~estimated)(probed, 0 * x),
            signed=per_image(probing & ~estimated)(signed, 0 * x),
            agreed=jnp.where(probing & ~estimated, agreed, 0.0),
            normal=per_image(estimated)(normal, s.normal),
            stride=jnp.where(estimated, size(x, s.x) / jnp.sqrt(s.iteration), s.stride / 2),
            far=per_image(landed)(at, s.far),
            reach=jnp.where(landed, size(x, at), s.reach),
            low=jnp.where(bisecting, low, 0.0),
            high=jnp.where(bisecting, high, 1.0),
            best=per_image(better)(query, s.best),
            size=jnp.where(better, distance, s.size),
            forwards=s.forwards + active,
        )

    def done(self, state: State) -> Array:
        """Mark images whose last iteration has ended, and those without an adversarial start."""
        return state.iteration > self.steps


def _climb(threat: Threat, g: Array) -> Array:
    return jnp.sign(g) if threat.norm.name == "linf" else unit(g)


def _cube(key: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


@jax.jit
def _begin(attack: HopSkipJump, threat: Threat, x: Array, begun: Array, found: Array, forwards: Array) -> State:
    """Begin at the adversarial start, with the bisection."""
    zero, none = jnp.zeros(len(x)), jnp.zeros(len(x), jnp.int32)
    size = jax.vmap(threat.length)(x, begun)
    return State(
        x=begun,
        phase=jnp.full(len(x), BISECT),
        tried=none,
        iteration=jnp.where(found, 0, attack.steps + 1),
        probed=0 * x,
        signed=0 * x,
        agreed=zero,
        normal=0 * x,
        stride=zero,
        far=begun,
        reach=size,
        low=zero,
        high=zero + 1,
        best=begun,
        size=size,
        forwards=forwards,
    )
