"""Input defense: purification by a small generative model."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax import Array

from advbench.attacks import Model
from advbench.core.errors import UsageError
from advbench.wrappers.base import Shape, Wrapper, before
from advbench.wrappers.facing import NonAdaptive
from advbench.wrappers.generator import Generator


@dataclass(frozen=True)
class Purify(Wrapper):
    """Project images onto the range of a generator (Samangouei, Kabkab & Chellappa 2018, arXiv 1805.06605).

    Defense-GAN searches from random latent vectors for hundreds of steps. Here the generator is a variational
    autoencoder whose encoder gives the start, so a few steps suffice and nothing is random.

    Parameters
    ----------
    generator : str
        File that `python -m advbench.wrappers.train DATASET FILE` wrote.
    steps : int
        Steps of Adam in latent space, at least 0.
    rate : float
        Learning rate of Adam, above 0.
    """

    paper = "Samangouei et al. 2018, arXiv 1805.06605"
    generator: str = ""
    steps: int = 20
    rate: float = 0.1

    def check(self, shape: Shape) -> None:
        """Refuse a missing generator, and steps or rate out of range."""
        if not self.generator:
            raise ValueError(
                "purify: no generator given: run python -m advbench.wrappers.train DATASET FILE.safetensors, "
                "then use purify:generator=FILE.safetensors"
            )
        if self.steps < 0 or not self.rate > 0:
            raise ValueError(f"purify: steps={self.steps} should be at least 0, and rate={self.rate} above 0")

    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """Return the defended model; adaptive attacks differentiate through every step of the search.

        Non-adaptive attacks see the network without the defense. BPDA with the identity is a weaker attack here: the
        search moves an image along the generator's range only, and the exact gradient contains that direction.
        """
        defended = before(self.loaded(shape), model, adaptive=False)
        return defended if adaptive else NonAdaptive(defended, model)

    def loaded(self, shape: Shape) -> Purifier:
        """Load the generator's weights, and return the transform.

        Raises
        ------
        UsageError
            When the file is missing or no generator, or is for another image shape.
        """
        generator = Generator.load(Path(self.generator))
        if generator.shape != shape:
            raise UsageError(f"{self.generator} makes images of shape {generator.shape}, but the data has {shape}")
        return Purifier(generator, self.steps, self.rate)

    def identity(self) -> str:
        """Return the identifying text, with the digest of the generator file instead of its path."""
        return f"purify {self.steps} {self.rate} {sha256(Path(self.generator).read_bytes()).hexdigest()}"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Purifier:
    """The transform of `Purify`, with the generator's weights.

    Attributes
    ----------
    generator : Generator
        Maps latent vectors to images.
    steps : int
        Steps of the search.
    rate : float
        Learning rate of the search.
    """

    generator: Generator
    steps: int = field(metadata={"static": True})
    rate: float = field(metadata={"static": True})

    def apply(self, x: Array) -> Array:
        """Return the generated images nearest in L2 that the steps find, `[B, H, W, C]`."""
        adam = optax.adam(self.rate)

        def distance(z: Array) -> Array:
            return jnp.square(self.generator.decode(z) - x).sum()

        def step(_: int, carry: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
            z, state = carry
            update, state = adam.update(jax.grad(distance)(z), state)
            return z + update, state

        start = self.generator.encode(x)
        z, _ = jax.lax.fori_loop(0, self.steps, step, (start, adam.init(start)))
        return self.generator.decode(z)
