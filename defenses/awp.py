"""Adversarial weight perturbation around any defense (Wu, Xia & Wang 2020, arXiv 2004.05884)."""

from __future__ import annotations

import types
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.norms import L2
from advbench.core.threat import Threat
from advbench.defenses.base import Cost, Defense, StepInputs


class AWP(Defense):
    """Descend along the gradient at nearby weights of higher loss, so that a flat minimum is found.

    The nearby weights are one ascent step away on the defense's own loss; each layer moves by `gamma` times the norm of
    its weights. Biases and the scales of normalisations stay unchanged. Put it before a defense: `class Mine(AWP,
    TRADES)`.

    Parameters
    ----------
    gamma
        Size of the perturbation, relative to each layer's weights, at least 0.
    warmup
        Epochs without perturbation, at least 0.

    Examples
    --------
    >>> from advbench.defenses import TRADES
    >>> class Mine(AWP, TRADES):
    ...     beta: float = 3.0
    >>> Mine(gamma=0.005).beta
    3.0
    """

    gamma: float = 0.01
    warmup: float = 0.0

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.gamma < 0 or self.warmup < 0:
            raise ValueError("AWP needs gamma >= 0 and warmup >= 0")

    def gradient(self, cost: Cost, params: Any, here: StepInputs) -> tuple[tuple[Array, Any], Any, Any]:
        _, ascent, _ = super().gradient(cost, params, here)
        gamma = jnp.where(here.epoch < self.warmup, 0.0, self.gamma)

        def move(weights: Array, ascent: Array) -> Array:
            return weights + gamma * L2().length(weights) * L2().steepest(ascent) if weights.ndim > 1 else weights

        return super().gradient(cost, jax.tree.map(move, params, ascent), here)


def around(base: type[Defense], **published: float) -> type[Defense]:
    """Combine AWP with the defense `base`, with the settings of both.

    Parameters
    ----------
    base : type[Defense]
        Class of a defense.
    **published : float
        Defaults that differ from those of AWP and `base`.

    Returns
    -------
    type[Defense]
        Class of the combined defense.

    Examples
    --------
    >>> from advbench.defenses import TRADES
    >>> around(TRADES, gamma=0.005)().gamma
    0.005
    """
    body = {
        "__doc__": f"{base.__name__} with perturbed weights.",
        "__module__": __name__,
        "__annotations__": dict.fromkeys(published, "float"),
        **published,
        "paper": f"Wu et al. 2020, arXiv 2004.05884, around {base.paper}",
    }
    perturbed = types.new_class(f"AWP{base.__name__}", (AWP, base), exec_body=lambda space: space.update(body))
    return cast("type[Defense]", perturbed)
