"""Residual networks for CIFAR-sized images: batch normalisation, normalised pixels, mean over space at the end."""

import jax
import jax.numpy as jnp
from flax import nnx

from advbench.nn.batch_norm import BatchNorm
from advbench.nn.layers import (
    Activation,
    Conv,
    Init,
    Normalize,
    batch_norm,
    dense,
    he_normal,
    he_normal_out,
    torch_kernel,
    zeros,
)

AROUND = ((1, 1), (1, 1))


class ResNet(nnx.Module):
    """CIFAR network of He et al. 2015 (arXiv:1512.03385) of depth 6n + 2, with shortcuts that have no weights.

    `depth` 20 and `width` 16 give their ResNet-20. He-normal kernels. A `stem` of stride 2 halves the image at once:
    the same arithmetic allows twice the width with half the elementwise operations, which two CPU cores can train.

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    depth : int, default 20
        Number of layers, 6n + 2.
    width : int, default 16
        Channels of the first group.
    stem : int, default 1
        Stride of the first convolution.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        depth: int = 20,
        width: int = 16,
        stem: int = 1,
    ):
        self.normalize = Normalize.of(shape[2])
        self.conv = Conv(shape[2], width, 3, stride=stem, padding=AROUND, rngs=rngs)
        self.norm = batch_norm(width, rngs=rngs)
        self.blocks: nnx.List[nnx.Module] = nnx.List([])
        fan_in = width
        for group in range(3):
            for block in range((depth - 2) // 6):
                stride = 2 if group and not block else 1
                self.blocks.append(_Block(fan_in, width << group, stride, rngs=rngs))
                fan_in = width << group
        self.head = dense(fan_in, classes, kernel=he_normal, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [B, H, W, C] in [0, 1] to logits [B, K]."""
        x = self.norm(self.conv(self.normalize(x)), relu=True)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class _Block(nnx.Module):
    """Two convolutions, the sum, then ReLU; the shortcut skips pixels and pads channels with zeros (option A)."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, *, rngs: nnx.Rngs):
        self.conv1 = Conv(fan_in, fan_out, 3, stride=stride, padding=AROUND, rngs=rngs)
        self.norm1 = batch_norm(fan_out, rngs=rngs)
        self.conv2 = Conv(fan_out, fan_out, 3, padding=AROUND, rngs=rngs)
        self.norm2 = batch_norm(fan_out, rngs=rngs)
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x), relu=True)))
        more = y.shape[-1] - x.shape[-1]
        shortcut = x[:, :: self.stride, :: self.stride]
        return nnx.relu(y + jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2))))


class PreActResNet(nnx.Module):
    """Residual network that normalises, activates, then convolves (He et al. 2016, arXiv:1603.05027).

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    stem : int
        Width of the first convolution.
    widths, strides : tuple[int, ...]
        Widths and strides of the groups.
    blocks : int
        Blocks in each group.
    kernel : Init
        Initialiser of the convolutions.
    head_bias : Init, optional
        Initialiser of the last bias.
    activation : Activation, default nnx.relu
        Elementwise function.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        stem: int,
        widths: tuple[int, ...],
        strides: tuple[int, ...],
        blocks: int,
        kernel: Init,
        head_bias: Init | None = None,
        activation: Activation = nnx.relu,
    ):
        self.normalize = Normalize.of(shape[2])
        self.conv = Conv(shape[2], stem, 3, padding=AROUND, kernel=kernel, rngs=rngs)
        self.blocks: nnx.List[nnx.Module] = nnx.List([])
        for width, group_stride in zip(widths, strides, strict=True):
            for block in range(blocks):
                stride = 1 if block else group_stride
                self.blocks.append(_PreActBlock(stem, width, stride, kernel=kernel, activation=activation, rngs=rngs))
                stem = width
        self.norm = batch_norm(stem, rngs=rngs)
        self.head = dense(stem, classes, bias=head_bias, rngs=rngs)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [B, H, W, C] in [0, 1] to logits [B, K]."""
        x = self.conv(self.normalize(x))
        for block in self.blocks:
            x = block(x)
        return self.head(_activated(self.norm, x, self.activation).mean((1, 2)))


class _PreActBlock(nnx.Module):
    """Two normalised, activated convolutions; where the width changes, the shortcut is a 1 x 1 convolution."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, *, kernel: Init, activation: Activation, rngs: nnx.Rngs):
        self.norm1 = batch_norm(fan_in, rngs=rngs)
        self.conv1 = Conv(fan_in, fan_out, 3, stride=stride, padding=AROUND, kernel=kernel, rngs=rngs)
        self.norm2 = batch_norm(fan_out, rngs=rngs)
        self.conv2 = Conv(fan_out, fan_out, 3, padding=AROUND, kernel=kernel, rngs=rngs)
        same = fan_in == fan_out and stride == 1
        self.shortcut = None if same else Conv(fan_in, fan_out, 1, stride=stride, kernel=kernel, rngs=rngs)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        y = _activated(self.norm1, x, self.activation)
        x = x if self.shortcut is None else self.shortcut(y)
        return x + self.conv2(_activated(self.norm2, self.conv1(y), self.activation))


def _activated(norm: BatchNorm, x: jax.Array, activation: Activation) -> jax.Array:
    return norm(x, relu=True) if activation is nnx.relu else activation(norm(x))


def preact_resnet18(
    shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs, activation: Activation = nnx.relu
) -> PreActResNet:
    """PreActResNet-18 of adversarial-training papers (Wong et al. 2020, arXiv:2001.03994), PyTorch's initialisation.

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    activation : Activation, default nnx.relu
        Elementwise function.

    Returns
    -------
    PreActResNet
        The network.
    """
    return PreActResNet(
        shape,
        classes,
        rngs=rngs,
        stem=64,
        widths=(64, 128, 256, 512),
        strides=(1, 2, 2, 2),
        blocks=2,
        kernel=torch_kernel,
        activation=activation,
    )


def wide_resnet(
    shape: tuple[int, int, int],
    classes: int,
    *,
    rngs: nnx.Rngs,
    depth: int,
    widen: int,
    activation: Activation = nnx.relu,
) -> PreActResNet:
    """WRN-depth-widen (Zagoruyko and Komodakis 2016, arXiv:1605.07146), initialised as in the code of TRADES.

    Parameters
    ----------
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    rngs : nnx.Rngs
        Random streams of Flax.
    depth : int
        Number of layers, 6n + 4.
    widen : int
        Width, in multiples of 16 channels.
    activation : Activation, default nnx.relu
        Elementwise function.

    Returns
    -------
    PreActResNet
        The network.
    """
    return PreActResNet(
        shape,
        classes,
        rngs=rngs,
        stem=16,
        widths=(16 * widen, 32 * widen, 64 * widen),
        strides=(1, 2, 2),
        blocks=(depth - 4) // 6,
        kernel=he_normal_out,
        head_bias=zeros,
        activation=activation,
    )
