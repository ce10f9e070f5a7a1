"""Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167), in training in few passes of the native kernel.

Like `ops`, it can be differentiated twice: where its gradient is differentiated, plain operations take over.
"""

from functools import partial

import jax
from flax import nnx
from jax import lax

from advbench.nn import native

AXES = 0, 1, 2  # batch and pixels
Statistics = tuple[jax.Array, jax.Array]
Saved = tuple[jax.Array, ...]


class BatchNorm(nnx.BatchNorm):
    """Flax's layer with its parameters and statistics, which may apply ReLU too: one pass less."""

    def __call__(
        self,
        x: jax.Array,
        use_running_average: bool | None = None,
        *,
        mask: jax.Array | None = None,
        relu: bool = False,
    ) -> jax.Array:
        """Normalise images, and apply ReLU if requested.

        Parameters
        ----------
        x : jax.Array
            Images `[B, H, W, C]`.
        use_running_average : bool, optional
            Use the stored statistics, not those of the images; by default as the layer is set.
        mask : jax.Array, optional
            As for `nnx.BatchNorm`.
        relu : bool, default False
            Whether to apply ReLU.

        Returns
        -------
        jax.Array
            Images in the shape of `x`.
        """
        stored = self.use_running_average if use_running_average is None else use_running_average
        if stored or mask is not None or not native.serves_norm(x):
            y: jax.Array = super().__call__(x, use_running_average, mask=mask)
            return nnx.relu(y) if relu else y
        assert self.scale is not None and self.bias is not None  # noqa: S101 - `layers.batch_norm` makes both
        y, *found = _norm(x, self.scale[...], self.bias[...], float(self.epsilon), relu)
        for kept, new in zip((self.mean, self.var), found, strict=True):
            kept[...] = lax.stop_gradient(self.momentum * kept[...] + (1 - self.momentum) * new)
        return y


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, relu: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return normalised images, and their mean and variance, through which no gradient may flow."""
    return native.norm(x, scale, bias, epsilon, relu=relu)


def _norm_fwd(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, relu: bool
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Saved]:
    y, mean, var = _norm(x, scale, bias, epsilon, relu)
    return (y, mean, var), (x, scale, bias, mean, var)


def _norm_bwd(epsilon: float, relu: bool, saved: Saved, slopes: Saved) -> tuple[jax.Array, ...]:
    x, scale, bias, *statistics = saved
    return _back(slopes[0], x, scale, bias, tuple(statistics), epsilon, relu)


_norm.defvjp(_norm_fwd, _norm_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _back(
    dy: jax.Array, x: jax.Array, scale: jax.Array, bias: jax.Array, statistics: Statistics, epsilon: float, relu: bool
) -> tuple[jax.Array, ...]:
    """Return the gradients of images, scale and bias; mean and variance are those of the images."""
    return native.norm_back(dy, x, *statistics, scale, bias, epsilon, relu=relu)


def _back_fwd(
    dy: jax.Array, x: jax.Array, scale: jax.Array, bias: jax.Array, statistics: Statistics, epsilon: float, relu: bool
) -> tuple[tuple[jax.Array, ...], Saved]:
    return _back(dy, x, scale, bias, statistics, epsilon, relu), (dy, x, scale, bias)


def _back_bwd(epsilon: float, relu: bool, saved: Saved, slopes: tuple[jax.Array, ...]) -> tuple[jax.Array | None, ...]:
    def plain(dy: jax.Array, *given: jax.Array) -> tuple[jax.Array, ...]:
        found: tuple[jax.Array, ...] = jax.vjp(partial(_plain, epsilon=epsilon, relu=relu), *given)[1](dy)
        return found

    return (*jax.vjp(plain, *saved)[1](slopes), None)


_back.defvjp(_back_fwd, _back_bwd)


def _plain(x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float, relu: bool) -> jax.Array:
    centred = x - x.mean(AXES)
    y = centred * (lax.rsqrt((centred**2).mean(AXES) + epsilon) * scale) + bias
    return jax.nn.relu(y) if relu else y
