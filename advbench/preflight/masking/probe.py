"""A sample of images and the short attacks on it that the checks compare; each attack runs once, on first use.

All gradient attacks share one compiled program, because eps, steps and the scale of the logits are traced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from zlib import crc32

import jax
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
from advbench.attacks.selection import judged_elsewhere
from advbench.core.batches import Batches
from advbench.core.model import predict
from advbench.core.outputs import margins
from advbench.core.threefry import key_data
from advbench.preflight.gradients import MARGIN_LOSS, gradient_sizes
from advbench.preflight.masking.guard import Broken
from advbench.wrappers.facing import judge_view

STEPS = 20
MARGIN = 5.0  # median margin of rescaled logits: far from saturation, far from a flat softmax
DRAWS = 16  # random images of the ball
QUERIES = {False: 100, True: 500}  # of the score attack, in the fast and the full examination
ZERO = Threat(NORMS["linf"], 0.0)


@dataclass(frozen=True)
class Probe:
    """A sample of correctly classified images, with the attacks on it; masks are bool `[n]`, True for broken images."""

    model: Model
    x: np.ndarray  # float32 [n, H, W, C]: classified correctly
    y: np.ndarray  # int32 [n]
    rest: np.ndarray  # images outside the sample, to train a surrogate on
    threat: Threat
    seed: int
    size: int  # images per batch
    full: bool
    scale_free: bool  # some attack of the evaluation does not depend on the scale of the logits
    chance: float  # accuracy of a guess: 1 over the number of classes

    @cached_property
    def judge(self) -> Model:
        """Model that decides whether an image is broken; a randomised model uses other draws than for the attack."""
        return judge_view(self.model)

    @cached_property
    def batches(self) -> Batches:
        """Batches of one shape, for every call."""
        return Batches(self.size)

    @property
    def bounded(self) -> bool:
        """True if there is a ball in which gradient attacks can be compared."""
        return self.threat.norm.name in PGD.norms and float(self.threat.eps) > 0

    @cached_property
    def everything(self) -> Threat:
        """Threat whose ball contains every image."""
        if not self.bounded:
            return Threat(NORMS["linf"], 1.0)
        pixels = self.x[0].size
        return Threat(self.threat.norm, {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}[self.threat.norm.name])

    def wider(self, times: float) -> Threat:
        """Return the threat with `times` the eps."""
        return Threat(self.threat.norm, float(self.threat.eps) * times)

    def map(self, f: Callable[..., Any], name: str, *arrays: np.ndarray, at: np.ndarray | None = None) -> Any:
        """Apply `f(keys, *batch)` to arrays `[m, ...]`; a key depends on seed, name and position `at` of its image."""
        at = np.arange(len(arrays[0])) if at is None else at
        keys = key_data(self.seed, crc32(name.encode()) & 0x7FFFFFFF, last=at)
        return self.batches.map(
            lambda keys, *batch: f(jax.random.wrap_key_data(keys), *batch), keys, *arrays, size=self.size
        )

    def logits(self, x: np.ndarray, model: Model | None = None) -> np.ndarray:
        """Compute the judge's logits of images, float32 `[m, K]`, or those of another `model`."""
        asked = self.judge if model is None else model
        logits: np.ndarray = self.batches.map(partial(predict, asked), x, size=self.size)
        return logits

    def breaks(self, x_adv: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return a mask of images that are misclassified or give logits not finite; those not in `rows` are not.

        There is one `x_adv` for each of `rows`, bool `[n]`, or of all.
        """
        at, broken = self._at(rows), np.zeros(len(self.y), bool)
        logits = self.logits(x_adv)
        broken[at] = (logits.argmax(1) != self.y[at]) | ~np.isfinite(logits).all(1)
        return broken

    def _at(self, rows: np.ndarray | None) -> np.ndarray:
        """Return the positions of rows."""
        return np.arange(len(self.y)) if rows is None else np.flatnonzero(rows)

    def attack(self, attack: Attack, threat: Threat, model: Model | None = None) -> np.ndarray:
        """Return the images that an attack proposes, float32 `[n, H, W, C]`; `model` replaces the model under test."""
        return self._proposed(attack, threat, self.model if model is None else model)[0]

    def _proposed(
        self, attack: Attack, threat: Threat, model: Model, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return images proposed for `rows`, and the gradients spent on each, int32 `[m]`."""

        def propose(keys: jax.Array, x: np.ndarray, y: np.ndarray) -> tuple[jax.Array, jax.Array]:
            found = attack(model, threat, jax.device_put(x), jax.device_put(y), keys)
            return found.x, found.gradients

        at = self._at(rows)
        proposed: tuple[np.ndarray, np.ndarray] = self.map(
            propose, type(attack).__name__, self.x[at], self.y[at], at=at
        )
        return proposed

    def ascend(
        self,
        threat: Threat,
        *,
        scale: float | None = None,
        steps: int = STEPS,
        stride: float = 0.1,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return a mask of `rows` broken by PGD with the cross-entropy of logits times `scale`, or `self.scale`."""
        return self._ascend(threat, scale, steps, stride, rows)[0]

    def _ascend(
        self,
        threat: Threat,
        scale: float | None,
        steps: int,
        stride: float = 0.1,
        rows: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        attack = PGD(steps=steps, rel_step_size=stride, start="clean")
        model = self.model
        if not isinstance(model, Randomised):
            model = Partial(_scaled, model, np.float32(self.scale if scale is None else scale))
        found, gradients = self._proposed(attack, threat, model, rows)
        return self.breaks(found, rows), gradients

    @cached_property
    def scale(self) -> float:
        """Factor that brings the median margin of the logits to `MARGIN`."""
        usual = float(np.median(-margins(self.logits(self.x), self.y)))
        return MARGIN / usual if np.isfinite(usual) and usual > 0 else 1.0

    @cached_property
    def single(self) -> np.ndarray:
        """Images broken by one step of length eps."""
        return self.ascend(self.threat, steps=1, stride=1.0)

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """Return a mask of `rows` broken by PGD on unscaled logits."""
        known = rows.all() or "_plain" in vars(self)
        return self._plain if known else self.ascend(self.threat, scale=1.0, rows=rows)

    @cached_property
    def _plain(self) -> np.ndarray:
        return self.ascend(self.threat, scale=1.0)

    @cached_property
    def rescaled(self) -> np.ndarray:
        """Images broken by PGD on rescaled logits."""
        if judged_elsewhere(self.model):
            return self.ascend(self.threat)
        broken, gradients = self._further  # an image stays where it is broken, which the next gradient finds out
        found: np.ndarray = broken & (gradients <= STEPS + 1)
        return found

    @property
    def twice(self) -> np.ndarray:
        """Images broken by twice the steps of PGD on rescaled logits."""
        return self._further[0]

    @cached_property
    def _further(self) -> tuple[np.ndarray, np.ndarray]:
        return self._ascend(self.threat, None, 2 * STEPS)

    @property
    def iterated(self) -> tuple[Broken, Broken]:
        """Images broken by PGD on rescaled or on unscaled logits."""
        return self.rescaled, self.plain

    @property
    def white(self) -> tuple[Broken, ...]:
        """Images broken by any gradient attack."""
        return self.single, *self.iterated

    def farther(self, rows: np.ndarray) -> np.ndarray:
        """Return a mask of `rows` broken by PGD at 2 eps."""
        return self.ascend(self.wider(2), rows=rows)

    @cached_property
    def unbounded(self) -> np.ndarray:
        """Images broken by PGD when every image is allowed."""
        return self.ascend(self.everything)

    def searched(self, rows: np.ndarray) -> np.ndarray:
        """Return a mask of `rows` broken by a short Square attack, a score attack."""
        attack = Square(queries=QUERIES[self.full], rescale=True)
        return self.breaks(self._proposed(attack, self.threat, self.model, rows)[0], rows)

    def drawn(self, rows: np.ndarray) -> np.ndarray:
        """Return a mask of `rows` broken by random images of the ball."""
        at = self._at(rows)
        draws = (self.map(lambda k, x: _draw(self.threat, k, x), f"draw {i}", self.x[at], at=at) for i in range(DRAWS))
        broken: np.ndarray = np.any([self.breaks(draw, rows) for draw in draws], 0)
        return broken

    @cached_property
    def largest_gradients(self) -> np.ndarray:
        """Largest absolute input gradient of the margin at a random image of each ball, float32 `[n]`."""
        threat = self.threat if self.bounded else ZERO
        drawn = self.map(lambda k, x: _draw(threat, k, x), "input_gradient", self.x)
        sizes: np.ndarray = self.batches.map(
            partial(gradient_sizes, self.model, MARGIN_LOSS), drawn, self.y, size=self.size
        )
        return sizes


def _scaled(model: Model, scale: jax.Array, x: jax.Array) -> jax.Array:
    return scale * model(x)


@jax.jit
def _draw(threat: Threat, keys: jax.Array, x: jax.Array) -> jax.Array:
    return jax.vmap(threat.start)(keys, x)
