"""A sample of images and the few short attacks on it that the checks compare; each is run once, when first asked for.

All gradient attacks are one compiled program: its eps, steps and scale of the logits are traced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from advbench.attacks import (
    NORMS,
    PGD,
    Attack,
    Model,
    Randomised,
    Square,
    Threat,
)
from advbench.attacks.losses import margin, slope
from advbench.core.batches import Batches
from advbench.core.outputs import margins
from advbench.wrappers.facing import judged

STEPS = 20
MARGIN = 5.0  # median margin of rescaled logits: far from saturation, far from a flat softmax
DRAWS = 16  # random images of the ball
QUERIES = {False: 100, True: 500}  # of the score search, fast and full
ZERO = Threat(NORMS["linf"], 0.0)


@dataclass(frozen=True)
class Probe:
    """What the checks look at; masks are bool `[n]`, True where an image was broken."""

    model: Model
    x: np.ndarray  # float32 [n, H, W, C]: classified rightly
    y: np.ndarray  # int32 [n]
    rest: np.ndarray  # images outside the sample, to train a surrogate on
    threat: Threat
    seed: int
    size: int  # images in a batch
    full: bool
    scale_free: bool  # whether the numbers rest on an attack that no scale of the logits can starve
    chance: float  # accuracy of a guess: 1 over the data's classes

    @cached_property
    def judge(self) -> Model:
        """What says whether an image is broken: of a randomised model other draws than those climbed."""
        return judged(self.model)

    @cached_property
    def batches(self) -> Batches:
        """How every call is batched: in one shape."""
        return Batches(self.size)

    @property
    def bounded(self) -> bool:
        """Whether there is a ball in which gradient attacks can be compared."""
        return self.threat.norm.name in PGD.norms and float(self.threat.eps) > 0

    @cached_property
    def everything(self) -> Threat:
        """A ball that holds every image."""
        if not self.bounded:
            return Threat(NORMS["linf"], 1.0)
        pixels = self.x[0].size
        return Threat(self.threat.norm, {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}[self.threat.norm.name])

    def wider(self, times: float) -> Threat:
        """The ball of a multiple of eps."""
        return Threat(self.threat.norm, float(self.threat.eps) * times)

    def map(self, f: Callable[..., Any], name: str, *arrays: np.ndarray) -> Any:
        """`f(keys, *batch)` over arrays `[m, ...]`; an image's key is that of the seed, the name and its place."""
        base = jax.random.fold_in(jax.random.key(self.seed), crc32(name.encode()) & 0x7FFFFFFF)
        places = np.arange(len(arrays[0]), dtype=np.uint32)
        return self.batches.map(lambda at, *batch: f(_keys(base, at), *batch), places, *arrays, size=self.size)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Of images, float32 `[m, K]`."""
        logits: np.ndarray = self.map(lambda _, x: _predict(self.judge, x), "", x)
        return logits

    def breaks(self, x_adv: np.ndarray) -> np.ndarray:
        """Which of these images, one for each of the sample, are misclassified or give no finite logits."""
        logits = self.logits(x_adv)
        broken: np.ndarray = (logits.argmax(1) != self.y) | ~np.isfinite(logits).all(1)
        return broken

    def attack(self, attack: Attack, threat: Threat, model: Model | None = None) -> np.ndarray:
        """The images that an attack proposes; on another model, if one is given."""
        target = self.model if model is None else model

        def propose(keys: jax.Array, x: np.ndarray, y: np.ndarray) -> jax.Array:
            return attack(target, threat, jnp.asarray(x), jnp.asarray(y), keys).x

        proposed: np.ndarray = self.map(propose, type(attack).__name__, self.x, self.y)
        return proposed

    def climb(
        self, threat: Threat, *, scale: float | None = None, steps: int = STEPS, stride: float = 0.1
    ) -> np.ndarray:
        """Which images PGD on the cross-entropy breaks, of logits times `scale` (one that suits it, by default)."""
        attack = PGD(steps=steps, rel_step_size=stride, start="clean")
        model = self.model
        if not isinstance(model, Randomised):
            model = Partial(_scaled, model, jnp.float32(self.scale if scale is None else scale))
        return self.breaks(self.attack(attack, threat, model))

    @cached_property
    def scale(self) -> float:
        """What brings the median margin of the logits to `MARGIN`."""
        usual = float(np.median(-margins(self.logits(self.x), self.y)))
        return MARGIN / usual if np.isfinite(usual) and usual > 0 else 1.0

    @cached_property
    def single(self) -> np.ndarray:
        """One step of the full eps."""
        return self.climb(self.threat, steps=1, stride=1.0)

    @cached_property
    def plain(self) -> np.ndarray:
        """PGD on the logits as they are."""
        return self.climb(self.threat, scale=1.0)

    @cached_property
    def rescaled(self) -> np.ndarray:
        """PGD on logits of a sane scale."""
        return self.climb(self.threat)

    @cached_property
    def iterated(self) -> np.ndarray:
        """Any of the two."""
        broken: np.ndarray = self.plain | self.rescaled
        return broken

    @cached_property
    def white(self) -> np.ndarray:
        """Any gradient attack."""
        broken: np.ndarray = self.iterated | self.single
        return broken

    @cached_property
    def unbounded(self) -> np.ndarray:
        """PGD where every image is allowed."""
        return self.climb(self.everything)

    @cached_property
    def searched(self) -> np.ndarray:
        """A short Square attack, which sees scores only."""
        return self.breaks(self.attack(Square(queries=QUERIES[self.full], rescale=True), self.threat))

    @cached_property
    def drawn(self) -> np.ndarray:
        """Random images of the ball."""
        draws = (self.map(lambda k, x: _draw(self.threat, k, x), f"draw {i}", self.x) for i in range(DRAWS))
        broken: np.ndarray = np.any([self.breaks(draw) for draw in draws], 0)
        return broken

    @cached_property
    def slopes(self) -> np.ndarray:
        """The largest slope of the margin in any pixel, a random step away from each image; float32 `[n]`."""
        threat = self.threat if self.bounded else ZERO
        sizes: np.ndarray = self.map(lambda k, x, y: _slope(self.model, threat, k, x, y), "slope", self.x, self.y)
        return sizes


def _scaled(model: Model, scale: jax.Array, x: jax.Array) -> jax.Array:
    return scale * model(x)


@jax.jit
def _keys(base: jax.Array, places: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(base, places)


@jax.jit
def _predict(model: Model, x: jax.Array) -> jax.Array:
    return model(x)


@jax.jit
def _draw(threat: Threat, keys: jax.Array, x: jax.Array) -> jax.Array:
    return jax.vmap(threat.start)(keys, x)


@jax.jit
def _slope(model: Model, threat: Threat, keys: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.abs(slope(model, margin, _draw(threat, keys, x), y)[0]).max((1, 2, 3))
