"""Adversarial weight perturbation around any defense (Wu, Xia & Wang 2020, arXiv 2004.05884)."""

from __future__ import annotations

import types
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.threat import L2, Threat
from advbench.defenses.base import Cost, Defense, Here


class AWP(Defense):
    """Descend from the slope at nearby weights of higher loss, so that a flat minimum is found.

    One step of ascent on the defense's own loss; each layer moves by `gamma` times the size of its weights. Biases and
    the scales of normalisations stay where they are. Put it before a defense: `class Mine(AWP, TRADES)`.
    """

    gamma: float = 0.01  # size of the perturbation, relative to each layer's weights
    warmup: float = 0.0  # epochs without perturbation

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.gamma < 0 or self.warmup < 0:
            raise ValueError("AWP needs gamma >= 0 and warmup >= 0")

    def gradient(self, cost: Cost, params: Any, here: Here) -> tuple[tuple[Array, Any], Any, Any]:
        _, ascent, _ = super().gradient(cost, params, here)
        gamma = jnp.where(here.epoch < self.warmup, 0.0, self.gamma)

        def move(weights: Array, ascent: Array) -> Array:
            return weights + gamma * L2().size(weights) * L2().steepest(ascent) if weights.ndim > 1 else weights

        return super().gradient(cost, jax.tree.map(move, params, ascent), here)


def around(base: type[Defense], **published: float) -> type[Defense]:
    """The defense `base` with AWP: it has the settings of both, with defaults of its own where `published` says so."""
    body = {
        "__doc__": f"{base.__name__} with perturbed weights.",
        "__module__": __name__,
        "__annotations__": dict.fromkeys(published, "float"),
        **published,
        "paper": f"Wu et al. 2020, arXiv 2004.05884, around {base.paper}",
    }
    perturbed = types.new_class(f"AWP{base.__name__}", (AWP, base), exec_body=lambda space: space.update(body))
    return cast("type[Defense]", perturbed)
