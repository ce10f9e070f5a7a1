"""Randomised models, and models without a useful gradient, prepared for attacks.

Expectation over transformation (EOT) and backward pass differentiable approximation (BPDA) are due to Athalye, Carlini
& Wagner 2018 (arXiv 1802.00420) and Athalye, Engstrom, Ilyas & Kwok 2018 (arXiv 1707.07397).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jax import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Randomised:
    """A randomised classifier, seen through the expectation over its randomness.

    A `Model`: it returns the mean logits over `draws` draws, and `attacks.losses.slope` differentiates the mean loss
    over them. The draws of an image follow from `seed` and its own pixels: another image has other randomness, the same
    image the same, and no image depends on its neighbours or on the batch.

    Parameters
    ----------
    apply : Callable[[Array, Array], Array]
        `apply(images, key)`: images `[B, H, W, C]` float32 in [0, 1] and one PRNG key to logits `[B, K]`. Wrap a
        function with weights in `jax.tree_util.Partial`.
    draws : int, optional
        Draws averaged for a prediction, at least 1; 20 as in AutoAttack's `rand`.
    seed : Array or int, default 0
        From 0 to 2**32 - 1; fixes the randomness.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> def noisy(x, key):
    ...     return (x + jax.random.normal(key, x.shape)).sum((1, 2))
    >>> model = Randomised(noisy, draws=4)
    >>> model.sample(jnp.zeros((2, 6, 6, 3))).shape, model(jnp.zeros((2, 6, 6, 3))).shape
    ((4, 2, 3), (2, 3))
    """

    apply: Callable[[Array, Array], Array]
    draws: int = field(default=20, metadata={"static": True})
    seed: Array | int = 0

    def __post_init__(self) -> None:
        if jax.tree_util.all_leaves([self.apply]):  # a plain function is no JAX type, and could not go into a program
            object.__setattr__(self, "apply", jax.tree_util.Partial(self.apply))

    def sample(self, x: Array) -> Array:
        """Return the logits of every draw.

        Parameters
        ----------
        x : Array
            Images, float32 `[B, H, W, C]` in [0, 1].

        Returns
        -------
        Array
            float32 `[draws, B, K]`.
        """
        keys = jax.vmap(lambda image: jax.random.fold_in(jax.random.key(self.seed), _bits(image)))(x)

        def once(image: Array, key: Array) -> Array:
            return self.apply(image[None], key)[0]

        def all_of(draw: Array) -> Array:
            return jax.vmap(once)(x, jax.vmap(jax.random.fold_in, (0, None))(keys, draw))

        draws: Array = jax.vmap(all_of)(jnp.arange(self.draws))
        return draws

    def __call__(self, x: Array, /) -> Array:
        """Mean logits `[B, K]`."""
        return self.sample(x).mean(0)

    def reseeded(self) -> Randomised:
        """Return the same classifier with other randomness: the judge must not see the attacked draws.

        Returns
        -------
        Randomised
            Independent draws of the same number.
        """
        return self._with(0x9E3779B9)

    def checking(self) -> Randomised:
        """Return the same classifier with randomness that neither attacks nor the judge see, for estimating margins.

        Returns
        -------
        Randomised
            At least two draws, to estimate their spread.
        """
        return replace(self._with(0x85EBCA6B), draws=max(2, self.draws))

    def _with(self, salt: int) -> Randomised:
        return replace(self, seed=jnp.asarray(self.seed, jnp.uint32) ^ jnp.uint32(salt))


def _bits(image: Array) -> Array:
    """Hash an image to a number that changes with any pixel, so that randomness follows from the image alone."""
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(image).astype(jnp.float32).ravel(), jnp.uint32)
    odd = jnp.arange(bits.size, dtype=jnp.uint32) * jnp.uint32(2654435761) | jnp.uint32(1)
    return jnp.sum(bits * odd, dtype=jnp.uint32)


def bpda(
    forward: Callable[[Array], Array], backward: Callable[[Array], Array] = lambda x: x
) -> Callable[[Array], Array]:
    """Replace the gradient of `forward` by that of `backward` (BPDA).

    Parameters
    ----------
    forward : Callable[[Array], Array]
        Operation of the model, of any shape; it is never differentiated.
    backward : Callable[[Array], Array], optional
        Differentiable substitute from the same shapes to the same shapes; by default the identity (straight-through).

    Returns
    -------
    Callable[[Array], Array]
        Function to be used inside the model: `lambda x: net(bpda(quantise)(x))`.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> float(jax.grad(bpda(jnp.round))(0.3))
    1.0
    """

    @jax.custom_vjp
    def substituted(x: Array) -> Array:
        return forward(x)

    def remember(x: Array) -> tuple[Array, Array]:
        return forward(x), x

    def pull(x: Array, g: Array) -> tuple[Array]:
        return (jax.vjp(backward, x)[1](g)[0],)

    substituted.defvjp(remember, pull)
    return substituted
