"""A network, images and a recipe small enough to train in a second, and what to listen with."""

import jax
import numpy as np
from flax import nnx

from advbench.attacks import NORMS, Threat
from advbench.defenses import PGDTraining
from advbench.defenses.metrics import Listener
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import Trainer
from advbench.defenses.validation import Accuracy

LINF = Threat(NORMS["linf"], 0.1)
PGD3 = PGDTraining(steps=3, rel_step_size=0.5)
RECIPE = Recipe(epochs=2, batch_size=16, validation=32, lr=0.01, eps_warmup=0.5, ema=0.9)


class Net(nnx.Module):
    """Everything that makes resuming hard: batch statistics and dropout."""

    def __init__(self, seed: int = 0, classes: int = 3):
        rngs = nnx.Rngs(seed)
        self.first = nnx.Linear(36, 12, rngs=rngs)
        self.norm = nnx.BatchNorm(12, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(12, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.first(x.reshape(len(x), -1))))
        return self.last(self.drop(x))


class Linear(nnx.Module):
    """No dropout, no batch statistics: a step can be computed by hand."""

    def __init__(self):
        self.layer = nnx.Linear(36, 3, rngs=nnx.Rngs(3))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x.reshape(len(x), -1))


class Ears(Listener):
    """Remembers all that a run says."""

    def __init__(self):
        self.windows, self.epochs, self.said = [], [], []

    def window(self, record):
        self.windows.append(record)

    def epoch(self, record):
        self.epochs.append(record)

    def say(self, text):
        self.said.append(text)


def scripted(monkeypatch, *accuracies):
    """Let validation find these (clean, fgsm, robust), one after another, the last one for ever."""
    left = [Accuracy(*each) for each in accuracies]
    monkeypatch.setattr(Trainer, "measure", lambda self, count: left.pop(0) if len(left) > 1 else left[0])


def blobs(n: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is where the light is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype(np.int32)
    images = rng.integers(0, 60, (n, 6, 6, 1))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 150
    return images.astype(np.uint8), labels


def leaves(tree: object) -> list[np.ndarray]:
    """Arrays of a module or tree, random keys as numbers."""
    state = nnx.state(tree) if isinstance(tree, nnx.Module) else tree
    plain = jax.tree.map(
        lambda a: jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else a, state
    )
    return [np.asarray(a) for a in jax.tree.leaves(plain)]


def same(a: object, b: object) -> bool:
    """Whether all arrays agree, bit for bit."""
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))
