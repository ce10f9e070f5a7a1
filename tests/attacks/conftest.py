"""Linear models, on which the best attack is known in closed form."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from advbench.attacks import Model

SHAPE = (5, 5, 2)


@dataclass(frozen=True)
class Linear:
    """logits = W x, with `n` images and their predicted labels."""

    weights: Array  # [pixels, K]
    x: Array
    y: Array

    @property
    def model(self) -> Model:
        return jax.tree_util.Partial(logits, self.weights)

    @property
    def keys(self) -> Array:
        return jax.random.split(jax.random.key(9), len(self.x))

    def slopes(self) -> np.ndarray:
        """[n, K, pixels]: how fast each class gains on the label."""
        w = np.asarray(self.weights, np.float64)
        return w.T[None] - w.T[np.asarray(self.y)][:, None]

    def margins(self) -> np.ndarray:
        """[n, K]: each class' logit minus the label's; -inf for the label itself."""
        gains = (self.slopes() * np.asarray(self.x, np.float64).reshape(len(self.x), 1, -1)).sum(-1)
        gains[np.arange(len(self.x)), np.asarray(self.y)] = -np.inf
        return gains


def logits(weights: Array, x: Array) -> Array:
    return x.reshape(len(x), -1) @ weights


def make(low: float, high: float, classes: int = 4, n: int = 12) -> Linear:
    key, other = jax.random.split(jax.random.key(3))
    weights = jax.random.normal(key, (int(np.prod(SHAPE)), classes))
    weights = weights - weights.mean(0)  # grey favours no class
    x = jnp.clip(jax.random.uniform(other, (20 * n, *SHAPE), minval=low, maxval=high), 0.0, 1.0)
    lead = jax.lax.top_k(logits(weights, x), 2)[0]
    x = x[jnp.argsort(lead[:, 0] - lead[:, 1])[10 * n : 11 * n]]  # neither at a boundary nor out of reach of it
    return Linear(weights, x, logits(weights, x).argmax(-1).astype(jnp.int32))


@pytest.fixture
def inner() -> Linear:
    """Images so far from 0 and 1 that only the ball binds."""
    return make(0.4, 0.6)


@pytest.fixture
def boxed() -> Linear:
    """Images in which many pixels are exactly 0 or 1, so that the box binds too."""
    return make(-1.0, 2.0)
