"""Threat models: the perturbations allowed. All arithmetic here is for one image; batching is `jax.vmap`."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.norms import Norm


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Threat:
    """Allowed images: within `eps` of the clean image in `norm`, and every pixel in [0, 1].

    `eps` is traced, so that a sweep over it never recompiles. Every method is for one image.

    Parameters
    ----------
    norm : Norm, optional
        Norm of the ball, one of `NORMS`.
    eps : Array or float
        Perturbation budget, white being 1; in L0 a number of values.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from advbench.core.norms import NORMS
    >>> threat = Threat(NORMS["linf"], 0.1)
    >>> clean = jnp.full((6, 6, 1), 0.5)
    >>> far = threat.project(clean, jnp.ones((6, 6, 1)))
    >>> round(float(far.max()), 6), round(float(threat.length(clean, far)), 6)
    (0.6, 0.1)
    """

    norm: Norm = field(metadata={"static": True})
    eps: Array | float

    def start(self, key: Array, x0: Array) -> Array:
        """Draw a random image of the ball: uniform, then projected into the box.

        Parameters
        ----------
        key : Array
            PRNG key.
        x0 : Array
            Clean image, float32 `[H, W, C]`.

        Returns
        -------
        Array
            float32 `[H, W, C]`.
        """
        return self.project(x0, x0 + self.eps * self.norm.sample(key, x0))

    def step(self, x0: Array, x: Array, g: Array, size: Array | float) -> Array:
        """Take an ascent step along the gradient `g` from `x`, by `size` times eps, then project.

        Parameters
        ----------
        x0 : Array
            Clean image, float32 `[H, W, C]`.
        x : Array
            Current image.
        g : Array
            Input gradient at `x`.
        size : Array or float
            Length of the step, in units of eps.

        Returns
        -------
        Array
            Allowed image, float32 `[H, W, C]`.
        """
        g = jnp.where(jnp.isfinite(g), g, 0.0)
        blocked = ((g > 0) & (x >= 1.0)) | ((g < 0) & (x <= 0.0))  # moving these would waste the perturbation budget
        return self.project(x0, x + size * self.eps * self.norm.steepest(jnp.where(blocked, 0.0, g)))

    def project(self, x0: Array, x: Array) -> Array:
        """Project an image into the allowed set.

        Parameters
        ----------
        x0 : Array
            Clean image, float32 `[H, W, C]`.
        x : Array
            Any image of the same shape.

        Returns
        -------
        Array
            Allowed image near `x`.
        """
        d = self.norm.project(x - x0, self.eps, -x0, 1.0 - x0)
        return jnp.clip(x0 + d, 0.0, 1.0)  # once more: x0 + (1 - x0) may round past 1

    def pixel_bounds(self, x0: Array) -> tuple[Array, Array]:
        """Return the lowest and highest value of each pixel; only in L0 can one pixel change by more than eps.

        Parameters
        ----------
        x0 : Array
            Clean image, float32 `[H, W, C]`.

        Returns
        -------
        tuple[Array, Array]
            Two arrays in the shape of `x0`.
        """
        if self.norm.name == "l0":
            return jnp.zeros_like(x0), jnp.ones_like(x0)
        return jnp.maximum(x0 - self.eps, 0.0), jnp.minimum(x0 + self.eps, 1.0)

    def length(self, x0: Array, x: Array) -> Array:
        """Return the length of the perturbation, in the threat's norm.

        Parameters
        ----------
        x0 : Array
            Clean image, float32 `[H, W, C]`.
        x : Array
            Perturbed image.

        Returns
        -------
        Array
            Scalar, at least 0.
        """
        return self.norm.length(x - x0)
