"""Noise-FGSM (de Jorge, Bibi, Volpi, Sanyal, Torr, Rogez & Dokania 2022, arXiv 2202.01181)."""

import jax
from jax import Array

from advbench.attacks.losses import cross_entropy, input_gradient
from advbench.core.model import Model
from advbench.core.threat import Threat
from advbench.defenses.base import Defense


class NoiseFGSM(Defense):
    """Train on one FGSM step from a noisy image, without projection to the ball: as cheap as FGSM, and seldom overfits.

    The images are up to `noise + rel_step_size` times eps away; only the pixel box limits them.

    Parameters
    ----------
    noise
        Radius of the uniform noise, in units of eps, at least 0.
    rel_step_size
        Length of the step, in units of eps, above 0.

    Examples
    --------
    >>> NoiseFGSM(noise=1.0).rel_step_size
    1.0
    """

    paper = "de Jorge et al. 2022, arXiv 2202.01181"
    watch = 200

    noise: float = 2.0
    rel_step_size: float = 1.0

    def check(self, threat: Threat) -> None:
        if self.noise < 0 or not self.rel_step_size > 0:
            raise ValueError("N-FGSM needs noise >= 0 and rel_step_size > 0, both in units of eps")

    def perturb(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        moved: Array = _craft(self, model, threat, x, y, keys)
        return moved


@jax.jit
def _craft(defense: NoiseFGSM, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
    reach = defense.noise + defense.rel_step_size
    noisy = jax.vmap(Threat(threat.norm, defense.noise * threat.eps).start)(keys, x)
    wide = Threat(threat.norm, reach * threat.eps)  # contains noise and step together, so that nothing is projected
    g, _ = input_gradient(model, cross_entropy, noisy, y)
    return jax.vmap(wide.step, (0, 0, 0, None))(x, noisy, g, defense.rel_step_size / reach)
