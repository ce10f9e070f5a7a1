"""Norms of perturbations: length, projection, sampling, steepest direction. All arithmetic here is for one image.

In every function `d` is a perturbation, and `low <= 0 <= high` bound the change of each pixel within the pixel box;
all have the image's shape, float32, in pixel units (white is 1).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import Array

UNCHANGED = 1e-6  # a value that changed by less counts as unchanged
TINY = 1e-37  # keeps divisions by zero finite, and is smaller than any gradient that matters


class Norm(Protocol):
    """A norm: length, projection, sampling, and the steepest direction."""

    name: ClassVar[str]

    def length(self, d: Array) -> Array:
        """Return the norm of `d`.

        Parameters
        ----------
        d : Array
            Perturbation, float32 `[H, W, C]`.

        Returns
        -------
        Array
            Scalar, at least 0.
        """

    def project(self, d: Array, eps: Array | float, low: Array, high: Array) -> Array:
        """Project `d` into the eps-ball and the box (to the nearest point for Linf, L1 and L0).

        Parameters
        ----------
        d : Array
            Perturbation, float32 `[H, W, C]`.
        eps : Array or float
            Radius of the ball, at least 0.
        low, high : Array
            Lowest and highest change of each pixel, `[H, W, C]`.

        Returns
        -------
        Array
            Perturbation, float32 `[H, W, C]`.
        """

    def steepest(self, g: Array) -> Array:
        """Return the direction of norm 1 that maximises the inner product with a gradient; 0 where `g` is 0.

        Parameters
        ----------
        g : Array
            Input gradient, float32 `[H, W, C]`.

        Returns
        -------
        Array
            float32 `[H, W, C]`.
        """

    def sample(self, key: Array, like: Array) -> Array:
        """Draw a uniform point of the unit ball.

        Parameters
        ----------
        key : Array
            PRNG key.
        like : Array
            Array whose shape is used.

        Returns
        -------
        Array
            float32, in the shape of `like`.
        """


@dataclass(frozen=True)
class Linf:
    """Largest change of any value."""

    name: ClassVar[str] = "linf"

    def length(self, d: Array) -> Array:
        return jnp.abs(d).max()

    def project(self, d: Array, eps: Array | float, low: Array, high: Array) -> Array:
        return jnp.clip(d, jnp.maximum(low, -eps), jnp.minimum(high, eps))

    def steepest(self, g: Array) -> Array:
        return jnp.sign(g)

    def sample(self, key: Array, like: Array) -> Array:
        return jax.random.uniform(key, like.shape, minval=-1.0, maxval=1.0)


@dataclass(frozen=True)
class L2:
    """Euclidean length of the perturbation."""

    name: ClassVar[str] = "l2"

    def length(self, d: Array) -> Array:
        return jnp.sqrt(jnp.square(d).sum())

    def project(self, d: Array, eps: Array | float, low: Array, high: Array) -> Array:
        # Ball, then box: since the clean image is in the box, clipping never leaves the ball.
        return jnp.clip(d * jnp.minimum(1.0, eps / jnp.maximum(self.length(d), TINY)), low, high)

    def steepest(self, g: Array) -> Array:
        g = g / jnp.maximum(jnp.abs(g).max(), TINY)  # tiny gradients would underflow when squared
        # Now the length is 0 or at least 1. XLA may divide by the product of two divisors, which TINY**2 makes 0.
        return g / jnp.maximum(self.length(g), 1.0)

    def sample(self, key: Array, like: Array) -> Array:
        towards, radius = jax.random.split(key)
        d = jax.random.normal(towards, like.shape)
        return d / self.length(d) * jax.random.uniform(radius) ** (1 / like.size)


@dataclass(frozen=True)
class L1:
    """Sum of all changes; steps change values of large gradient only (Tramer & Boneh 2019, arXiv 1904.13000)."""

    name: ClassVar[str] = "l1"
    share: ClassVar[float] = 0.05  # of all values change in one step

    def length(self, d: Array) -> Array:
        return jnp.abs(d).sum()

    def project(self, d: Array, eps: Array | float, low: Array, high: Array) -> Array:
        # The nearest point is soft-thresholded, then clipped (Croce & Hein 2021, arXiv 2103.01208):
        # bisect the threshold, on which the size depends monotonically.
        def shrunk(threshold: Array) -> Array:
            return jnp.clip(jnp.sign(d) * jnp.maximum(jnp.abs(d) - threshold, 0.0), low, high)

        def halve(_: int, span: tuple[Array, Array]) -> tuple[Array, Array]:
            middle = (span[0] + span[1]) / 2
            inside = self.length(shrunk(middle)) <= eps
            return jnp.where(inside, span[0], middle), jnp.where(inside, middle, span[1])

        top = jnp.abs(d).max()
        _, threshold = jax.lax.fori_loop(0, 32, halve, (jnp.zeros_like(top), top))
        return jnp.where(self.length(shrunk(jnp.zeros_like(top))) <= eps, jnp.clip(d, low, high), shrunk(threshold))

    def steepest(self, g: Array) -> Array:
        slopes = jnp.abs(g).ravel()
        few = max(1, round(self.share * slopes.size))
        top = jax.lax.top_k(slopes, few)[0]
        # In proportion to the gradients: equal steps would be undone by the projection.
        direction = jnp.where(jnp.abs(g) >= top[-1], g / jnp.maximum(top[0], TINY), 0.0)
        return direction / jnp.maximum(self.length(direction), 1.0)

    def sample(self, key: Array, like: Array) -> Array:
        towards, radius = jax.random.split(key)
        d = jax.random.laplace(towards, like.shape)
        return d / self.length(d) * jax.random.uniform(radius) ** (1 / like.size)


@dataclass(frozen=True)
class L0:
    """Number of changed values (a pixel of three channels has three)."""

    name: ClassVar[str] = "l0"

    def length(self, d: Array) -> Array:
        return (jnp.abs(d) > UNCHANGED).sum().astype(jnp.float32)

    def project(self, d: Array, eps: Array | float, low: Array, high: Array) -> Array:
        d = jnp.clip(d, low, high)
        rank = jnp.argsort(jnp.argsort(-jnp.abs(d).ravel())).reshape(d.shape)
        return jnp.where(rank < jnp.floor(eps), d, 0.0)

    def steepest(self, g: Array) -> Array:
        best = jnp.argmax(jnp.abs(g))
        return jnp.where(jnp.arange(g.size).reshape(g.shape) == best, jnp.sign(g), 0.0)

    def sample(self, key: Array, like: Array) -> Array:
        where, what = jax.random.split(key)
        chosen = jax.random.randint(where, (), 0, like.size)
        value = jax.random.uniform(what, minval=-1.0, maxval=1.0)
        return jnp.where(jnp.arange(like.size).reshape(like.shape) == chosen, value, 0.0)


@dataclass(frozen=True)
class Anything(Linf):
    """Every image in the pixel box: for natural transformations, and to test whether an attack works at all."""

    name: ClassVar[str] = "any"


NORMS: dict[str, Norm] = {norm.name: norm for norm in (Linf(), L2(), L1(), L0(), Anything())}
"""Norms by name."""
