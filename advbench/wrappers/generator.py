"""A small variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import jax
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
    """Variational autoencoder whose encoder and decoder have one hidden layer each.

    Attributes
    ----------
    weights : dict of str to Array
        `NAME.kernel` `[in, out]` and `NAME.bias` `[out]` of every layer.
    shape : tuple of int
        Image shape (H, W, C).
    """

    weights: Weights
    shape: Shape = field(metadata={"static": True})

    def encode(self, x: Array) -> Array:
        """Return the posterior mean of the latent vectors of images `[B, H, W, C]`, `[B, latent]`."""
        return self.posterior(x)[0]

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Return mean and log-variance of the latent vectors, `[B, latent]` each."""
        hidden = jax.nn.relu(self._layer("encode", x.reshape(len(x), -1)))
        return self._layer("mean", hidden), self._layer("log_variance", hidden)

    def decode(self, z: Array) -> Array:
        """Return images in (0, 1), `[B, H, W, C]`, from latent vectors `[B, latent]`."""
        return jax.nn.sigmoid(self.logits(z)).reshape(-1, *self.shape)

    def logits(self, z: Array) -> Array:
        """Return pixels before the sigmoid, `[B, H * W * C]`."""
        return self._layer("pixels", jax.nn.relu(self._layer("decode", z)))

    def _layer(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.kernel"] + self.weights[f"{name}.bias"]

    def save(self, path: Path) -> None:
        """Write the generator to a safetensors file.

        Raises
        ------
        UsageError
            When the file can't be written.
        """
        arrays = {name: np.asarray(value) for name, value in self.weights.items()}
        try:
            write(path, save(arrays | {"shape": np.array(self.shape, np.int32)}))
        except OSError as error:
            raise UsageError(f"can't write {path}: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> Generator:
        """Read a generator that `save` wrote.

        Raises
        ------
        UsageError
            When the file is missing or holds something else.
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
        return cls({name: jax.device_put(value) for name, value in arrays.items()}, (height, width, channels))
