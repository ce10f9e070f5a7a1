"""Free adversarial training (Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor & Goldstein 2019)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.threat import Threat
from advbench.defenses.base import Cost, Defense, StepInputs


class FreeTraining(Defense):
    """Take one backward pass for both the weights and the perturbation, which is carried from step to step.

    Each batch is replayed, so that the perturbation can grow; an epoch of the usual number of steps visits a share `1 /
    replays` of the images.

    Parameters
    ----------
    replays
        Steps on each batch, at least 1; the paper's m.
    rel_step_size
        Length of an ascent step, in units of eps, above 0.

    Examples
    --------
    >>> FreeTraining(replays=4).visits
    4
    """

    paper = "Shafahi et al. 2019, arXiv 1904.12843"
    watch = 200

    replays: int = 8
    rel_step_size: float = 1.0

    @property
    def visits(self) -> int:
        return self.replays

    def check(self, threat: Threat) -> None:
        if self.replays < 1 or not self.rel_step_size > 0:
            raise ValueError("free training needs replays >= 1 and rel_step_size > 0, in units of eps")

    def remember(self, shape: tuple[int, ...]) -> Array:
        return jnp.zeros(shape)

    def gradient(self, cost: Cost, params: Any, here: StepInputs) -> tuple[tuple[Array, Any], Any, Array]:
        x, threat = here.x, here.threat
        moved = jax.vmap(threat.project)(x, x + here.memory)
        value, (input_gradient, climb) = jax.value_and_grad(cost, (0, 1), has_aux=True)(params, moved)
        further = jax.vmap(threat.step, (0, 0, 0, None))(x, moved, climb, self.rel_step_size)
        return value, input_gradient, further - x
