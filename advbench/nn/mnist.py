"""Networks of MNIST papers; each takes any image shape."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import jax
from flax import nnx

from advbench.core.errors import UsageError
from advbench.nn.layers import (
    Conv,
    Normalize,
    dense,
    zeros,
)


class MLP(nnx.Module):
    """Fully connected network with ReLU, on normalised pixels; PyTorch's initialisation.

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    hidden : Sequence[int], default (256, 128)
        Widths of the hidden layers.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs, hidden: Sequence[int] = (256, 128)
    ):
        widths = [prod(shape), *hidden, classes]
        self.normalize = Normalize.of(shape[2])
        self.layers = nnx.List(dense(i, o, rngs=rngs) for i, o in pairwise(widths))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [B, H, W, C] in [0, 1] to logits [B, K]."""
        x = self.normalize(x).reshape(len(x), -1)
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


class SmallCNN(nnx.Module):
    """MNIST network of TRADES (Zhang et al. 2019, arXiv:1901.08573): four convolutions and three dense layers.

    As in the authors' code: raw pixels, dropout after the first dense layer, He-normal kernels, and a last layer that
    is initialised with zeros.

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C), of 16 x 16 pixels or more.
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs):
        height, width, channels = shape
        ends = zip((channels, 32, 32, 64), (32, 32, 64, 64), strict=True)
        self.convs = nnx.List(Conv(i, o, 3, padding="VALID", bias=zeros, rngs=rngs) for i, o in ends)
        features = 64 * _after_two(height) * _after_two(width)
        self.fc1 = dense(features, 200, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.fc2 = dense(200, 200, rngs=rngs)
        self.fc3 = dense(200, classes, kernel=zeros, bias=zeros, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [B, H, W, C] in [0, 1] to logits [B, K]."""
        for i, conv in enumerate(self.convs):
            x = conv.relu(x, pool=i % 2 == 1)
        x = self.drop(nnx.relu(self.fc1(x.reshape(x.shape[0], -1))))
        return self.fc3(nnx.relu(self.fc2(x)))


def _after_two(size: int) -> int:
    """Return the side after two blocks of two 3x3 convolutions without padding, then pooling."""
    for _ in range(2):
        size = (size - 4) // 2
    if size < 1:
        raise UsageError("small-cnn needs images of 16 x 16 pixels or more")
    return size


class MadryCNN(nnx.Module):
    """Network of the MNIST challenge (Madry et al. 2018, arXiv:1706.06083), with its initialisation; raw pixels.

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs):
        height, width, channels = shape
        kernel, bias = nnx.initializers.truncated_normal(0.1), nnx.initializers.constant(0.1)
        self.conv1 = Conv(channels, 32, 5, kernel=kernel, bias=bias, rngs=rngs)
        self.conv2 = Conv(32, 64, 5, kernel=kernel, bias=bias, rngs=rngs)
        self.fc1 = dense(64 * (height // 4) * (width // 4), 1024, kernel=kernel, bias=bias, rngs=rngs)
        self.fc2 = dense(1024, classes, kernel=kernel, bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [B, H, W, C] in [0, 1] to logits [B, K]."""
        for conv in (self.conv1, self.conv2):
            x = conv.relu(x, pool=True)
        return self.fc2(nnx.relu(self.fc1(x.reshape(x.shape[0], -1))))


class WongCNN(nnx.Module):
    """Small network of Wong & Kolter (2018, arXiv:1711.00851): two strided convolutions, two dense layers.

    Raw pixels, He-normal convolutions. A tenth of the arithmetic of `SmallCNN`: two CPU cores train it robustly in a
    minute.

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs):
        height, width, channels = shape
        pads = ((1, 1), (1, 1))
        self.conv1 = Conv(channels, 16, 4, stride=2, padding=pads, bias=zeros, rngs=rngs)
        self.conv2 = Conv(16, 32, 4, stride=2, padding=pads, bias=zeros, rngs=rngs)
        self.fc1 = dense(32 * (height // 4) * (width // 4), 100, rngs=rngs)
        self.fc2 = dense(100, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [B, H, W, C] in [0, 1] to logits [B, K]."""
        x = nnx.relu(self.conv2(nnx.relu(self.conv1(x))))
        return self.fc2(nnx.relu(self.fc1(x.reshape(x.shape[0], -1))))
