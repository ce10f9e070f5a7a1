"""Training under Gaussian noise, for randomised smoothing (Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918)."""

import jax
from jax import Array

from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.base import Defense


class NoiseTraining(Defense):
    """Train on noisy images, and choose the weights by their accuracy on noisy images.

    The noise is not clipped to the pixel box, since smoothing does not clip either. The network alone is hardly robust;
    its majority vote under noise of the same sigma is.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, white being 1, above 0.

    Examples
    --------
    >>> NoiseTraining(sigma=0.5).against
    'Gaussian noise'
    """

    paper = "Cohen et al. 2019, arXiv 1902.02918"
    against = "Gaussian noise"

    sigma: float = 0.25

    def check(self, threat: Threat) -> None:
        if not self.sigma > 0:
            raise ValueError(f"noise training needs sigma > 0, in pixel units where white is 1, not {self.sigma:g}")

    def perturb(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        noisy: Array = _noisy(x, keys, self.sigma)
        return noisy

    def probe(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        return self.perturb(model, threat, x, y, keys)


@jax.jit
def _noisy(x: Array, keys: Array, sigma: Array | float) -> Array:
    return x + sigma * jax.vmap(lambda key, x: jax.random.normal(key, x.shape))(keys, x)
