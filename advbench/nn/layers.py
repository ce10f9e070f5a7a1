"""Layers shared by the architectures, and the two initialisations that papers call "default"."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from advbench.nn.batch_norm import BatchNorm
from advbench.nn.fused import conv_relu
from advbench.nn.ops import Padding, conv2d

Activation = Callable[[jax.Array], jax.Array]
Init = Callable[..., jax.Array]


def _compiled(init: Init) -> Init:
    """Make an initialiser one program for a shape."""
    return jax.jit(init, static_argnums=(1, 2))


he_normal: Init = _compiled(nnx.initializers.variance_scaling(2.0, "fan_in", "normal"))
"""Normal of variance 2 / fan_in (He et al. 2015, arXiv:1502.01852): PyTorch's `kaiming_normal_`."""
he_normal_out: Init = _compiled(nnx.initializers.variance_scaling(2.0, "fan_out", "normal"))
"""Normal of variance 2 / fan_out, as the Wide ResNet code has it."""
torch_kernel: Init = _compiled(nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))
"""Uniform within 1 / sqrt(fan_in): initial weights of PyTorch's `Conv2d` and `Linear`."""
zeros: Init = nnx.initializers.zeros


def torch_bias(fan_in: int) -> Init:
    """Initialise a bias uniformly within 1 / sqrt(fan_in), as PyTorch does.

    Parameters
    ----------
    fan_in : int
        Number of inputs of the layer.

    Returns
    -------
    Init
        Initialiser.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init


def dense(
    fan_in: int, fan_out: int, *, rngs: nnx.Rngs, kernel: Init = torch_kernel, bias: Init | None = None
) -> nnx.Linear:
    """Make a fully connected layer `[B, fan_in]` to `[B, fan_out]`, initialised as in PyTorch by default.

    Parameters
    ----------
    fan_in, fan_out : int
        Number of inputs and outputs.
    rngs : nnx.Rngs
        Random streams of Flax.
    kernel : Init, default torch_kernel
        Initialiser of the weights.
    bias : Init, optional
        Initialiser of the bias.

    Returns
    -------
    nnx.Linear
        The layer.
    """
    return nnx.Linear(fan_in, fan_out, kernel_init=kernel, bias_init=bias or torch_bias(fan_in), rngs=rngs)


def batch_norm(channels: int, *, rngs: nnx.Rngs) -> BatchNorm:
    """Make a batch normalisation with PyTorch's momentum and epsilon.

    Parameters
    ----------
    channels : int
        Number of channels.
    rngs : nnx.Rngs
        Random streams of Flax.

    Returns
    -------
    BatchNorm
        The layer.
    """
    return BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


class Conv(nnx.Module):
    """Convolution `[B, H, W, C]` to `[B, H', W', O]` on `ops.conv2d`.

    Parameters
    ----------
    fan_in, fan_out : int
        Number of channels C and O.
    window : int
        Side of the kernel.
    rngs : nnx.Rngs
        Random streams of Flax.
    stride : int, default 1
        Step between windows.
    padding : Padding, default 'SAME'
        As for `conv2d`.
    kernel : Init, default he_normal
        Initialiser of the weights.
    bias : Init, optional
        Initialiser of the bias; None is no bias.
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        window: int,
        *,
        rngs: nnx.Rngs,
        stride: int = 1,
        padding: Padding = "SAME",
        kernel: Init = he_normal,
        bias: Init | None = None,
    ):
        self.kernel = nnx.Param(kernel(rngs.params(), (window, window, fan_in, fan_out)))
        self.bias = nnx.Param(bias(rngs.params(), (fan_out,))) if bias else None
        self.stride = stride
        self.padding = padding if isinstance(padding, str) else tuple(padding)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve `[B, H, W, C]`."""
        y = conv2d(x, self.kernel[...], stride=self.stride, padding=self.padding)
        return y if self.bias is None else y + self.bias[...]

    def relu(self, x: jax.Array, *, pool: bool = False) -> jax.Array:
        """Convolve, apply ReLU, and max-pool over 2x2 windows if requested: fused where possible.

        Parameters
        ----------
        x : jax.Array
            Images `[B, H, W, C]`.
        pool : bool, default False
            Whether to pool.

        Returns
        -------
        jax.Array
            `[B, H', W', O]`, or half that size.
        """
        bias = jnp.zeros(self.kernel.shape[-1], x.dtype) if self.bias is None else self.bias[...]
        return conv_relu(x, self.kernel[...], bias, stride=self.stride, padding=self.padding, pool=pool)


class Normalize(nnx.Module):
    """Normalisation (x - mean) / std for each channel; constants that no optimiser changes.

    Parameters
    ----------
    mean, std : tuple[float, ...]
        One number for each channel, white being 1.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        self.mean = mean
        self.std = std

    @classmethod
    def of(cls, channels: int) -> "Normalize":
        """Return the moments of MNIST for one channel, of CIFAR-10 for three, and the identity for others.

        Parameters
        ----------
        channels : int
            Number of channels.

        Returns
        -------
        Normalize
            The layer.
        """
        mean, std = _MOMENTS.get(channels, ((0.0,) * channels, (1.0,) * channels))
        return cls(mean, std)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise images `[B, H, W, C]`."""
        return (x - jnp.asarray(self.mean, x.dtype)) / jnp.asarray(self.std, x.dtype)


_MOMENTS = {
    1: ((0.1307,), (0.3081,)),
    3: ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
