"""Random noise, as a control: a gradient attack that does no better has no useful gradients.

The model sees one draw after the other, and the first that is misclassified is kept (as in Rauber, Brendel & Bethge
2017, arXiv 1707.04131).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Attack, Proposal
from advbench.attacks.loop import iterate
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


class State(NamedTuple):
    """The latest draw, whether it is misclassified, and the number of draws."""

    x: Array
    misclassified: Array
    forwards: Array
    keys: Array
    chosen: Choice | None


class Noise(Attack):
    """Draw noise until the image is misclassified; subclasses define the noise.

    Parameters
    ----------
    samples
        Largest number of draws, at least 1.
    """

    access = "decision"
    cost = "100 queries"
    paper = "Rauber et al. 2017, arXiv 1707.04131"
    stops = True

    samples: int = 100

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.samples < 1:
            raise ValueError(f"{type(self).__name__} needs samples >= 1, not {self.samples}")

    def draw(self, threat: Threat, key: Array, x: Array, number: Array) -> Array:
        """Draw one noisy image; it is projected into the ball afterwards.

        Parameters
        ----------
        threat : Threat
            Norm ball and pixel box to stay in.
        key : Array
            PRNG key.
        x : Array
            Clean image, float32 `[H, W, C]` in [0, 1].
        number : Array
            Number of the draw, from 0.

        Returns
        -------
        Array
            float32 `[H, W, C]`.
        """
        raise NotImplementedError

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begin = State(x, filled(x, False, bool), filled(x, 0, np.int32), keys, choice(model, x, y))
        ended = iterate(self, model, threat, x, y, begin, self.samples)
        return proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.forwards, 0 * ended.forwards)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Draw once for every image that is not yet misclassified."""

        def noisy(key: Array, x: Array, number: Array) -> Array:
            return threat.project(x, self.draw(threat, jax.random.fold_in(key, number), x, number))

        drawn = jax.vmap(noisy)(state.keys, x, state.forwards)
        logits = model(drawn)
        return State(
            jnp.where(state.misclassified[:, None, None, None], state.x, drawn),
            state.misclassified | settled(model, logits, y),
            state.forwards + ~state.misclassified,
            state.keys,
            consider(state.chosen, model, drawn, y, logits),
        )

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified


class UniformNoise(Noise):
    """Uniform noise on every value, scaled to the surface of the ball.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`; noise hardly changes the mean of an image:

    >>> UniformNoise(samples=10)(model, linf, x, y, keys).claims.tolist()
    [False, False]
    """

    norms = ("linf", "l2", "l1")

    def draw(self, threat: Threat, key: Array, x: Array, number: Array) -> Array:
        return x + _scaled(threat, jax.random.uniform(key, x.shape, minval=-1.0, maxval=1.0))


class GaussianNoise(Noise):
    """Gaussian noise on every value, scaled to the surface of the ball.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(GaussianNoise(samples=1000))
    'gaussian-noise:samples=1000'
    """

    norms = ("linf", "l2", "l1")

    def draw(self, threat: Threat, key: Array, x: Array, number: Array) -> Array:
        return x + _scaled(threat, jax.random.normal(key, x.shape))


class SaltPepper(Noise):
    """Random values set to black or white: as many as L0 allows; without a norm more from draw to draw, up to all.

    It takes 100 draws, as the other noises; the authors' code takes 1,000.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(SaltPepper(samples=1000))
    'salt-pepper:samples=1000'
    """

    norms = ("l0", "any")

    def draw(self, threat: Threat, key: Array, x: Array, number: Array) -> Array:
        where, what = jax.random.split(key)
        count = threat.eps if threat.norm.name == "l0" else x.size * (number + 1) / self.samples
        lot = jax.random.uniform(where, x.shape)
        bar = jnp.sort(lot.ravel())[jnp.clip(jnp.asarray(count, int), 0, x.size - 1)]
        chosen = (lot < bar) | (count >= x.size)
        return jnp.where(chosen, jax.random.bernoulli(what, shape=x.shape), x)


def _scaled(threat: Threat, d: Array) -> Array:
    return d * threat.eps / jnp.maximum(threat.norm.length(d), TINY)
