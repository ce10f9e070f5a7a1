"""A small variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from safetensors import SafetensorError
from safetensors.numpy import load, save

from advbench.core.errors import UsageError
from advbench.core.files import write
from advbench.wrappers.base import Shape

LAYERS = ("encode", "mean", "log_variance", "decode", "pixels")

Weights = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Generator:
    """Encoder and decoder with one hidden layer each."""

    weights: Weights  # `NAME.kernel` [in, out] and `NAME.bias` [out] of every layer
    shape: Shape = field(metadata={"static": True})

    def encode(self, x: Array) -> Array:
        """The most likely latent vectors of images `[B, H, W, C]`, `[B, latent]`."""
        return self.posterior(x)[0]

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Mean and logarithm of the variance, `[B, latent]` each."""
        hidden = jax.nn.relu(self._layer("encode", x.reshape(len(x), -1)))
        return self._layer("mean", hidden), self._layer("log_variance", hidden)

    def decode(self, z: Array) -> Array:
        """Images in (0, 1), `[B, H, W, C]`."""
        return jax.nn.sigmoid(self.logits(z)).reshape(-1, *self.shape)

    def logits(self, z: Array) -> Array:
        """What the sigmoid makes pixels of, `[B, H * W * C]`."""
        return self._layer("pixels", jax.nn.relu(self._layer("decode", z)))

    def _layer(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.kernel"] + self.weights[f"{name}.bias"]

    def save(self, path: Path) -> None:
        """Write it as safetensors; raises UsageError where that can't be."""
        arrays = {name: np.asarray(value) for name, value in self.weights.items()}
        try:
            write(path, save(arrays | {"shape": np.array(self.shape, np.int32)}))
        except OSError as error:
            raise UsageError(f"can't write {path}: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> Generator:
        """Read what `save` wrote.

        Raises
        ------
        UsageError
            There is no such file, or it holds something else.
        """
        try:
            arrays = load(path.read_bytes())
        except OSError as error:
            raise UsageError(f"can't read the generator {path}: {error.strerror}") from None
        except SafetensorError as error:
            raise UsageError(f"{path} is not a generator: {error}") from None
        shape = arrays.pop("shape", np.zeros(0))
        wanted = {f"{layer}.{part}" for layer in LAYERS for part in ("kernel", "bias")}
        if arrays.keys() != wanted or shape.shape != (3,):
            raise UsageError(f"{path} is not a generator: it should hold {', '.join(sorted(wanted))} and shape")
        height, width, channels = shape.tolist()
        return cls({name: jnp.asarray(value) for name, value in arrays.items()}, (height, width, channels))
