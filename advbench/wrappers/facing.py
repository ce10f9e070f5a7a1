"""Which model attacks climb and which one judges, where these differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks import Model, Randomised
from advbench.attacks.losses import margin
from advbench.attacks.selection import Substitute, judged_elsewhere
from advbench.core.translated import originals
from advbench.remote import Remote


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Unaware:
    """A defended `Model`, and the network that attacks climb which know nothing of the defense."""

    defended: Model
    bare: Model

    def __call__(self, x: Array, /) -> Array:
        """Logits of the defended model."""
        return self.defended(x)


@runtime_checkable
class Rejecting(Protocol):
    """A `Model` with one logit more than there are classes, the last one: the image is rejected."""

    def against(self, y: Array) -> Model:
        """What holds for adversarial images of these labels, `[B]`: only what is wrong and accepted is broken."""


def rejects(model: Model) -> bool:
    """Whether the last logit is no class, but says that the image is rejected."""
    return isinstance(model.defended if isinstance(model, Unaware) else model, Rejecting)


def climbed(model: Model, x: Array, y: Array) -> Model:
    """What attacks meet, on clean images `x`, `[B, H, W, C]`, with labels `y`, int32 `[B]`.

    Of a network that stands in for a defended one, a minimum-norm attack must be as sure as it was of the right class.
    """
    if isinstance(model, Unaware):
        bare = climbed(model.bare, x, y)
        return bare if judged_elsewhere(bare) else Substitute(bare, jnp.abs(_margin(bare, x, y)))
    return model.against(y) if isinstance(model, Rejecting) else model


@jax.jit
def _margin(model: Model, x: Array, y: Array) -> Array:
    return jax.vmap(margin)(model(x), y)


def adaptive(model: Model) -> Model:
    """What attacks meet that know the defense."""
    return model.defended if isinstance(model, Unaware) else model


def judged(model: Model) -> Model:
    """What the judge predicts with.

    A network itself in the place of its translation; a randomised model's other draws than those climbed; a target
    asked again.
    """
    if isinstance(model, Unaware):
        return judged(model.defended)
    model = originals(model)
    return model.afresh() if isinstance(model, Randomised | Remote) else model


def counted(model: Model, y: Array) -> Model:
    """What the judge sees of adversarial images with labels `y`; clean images meet the model itself."""
    return model.against(y) if isinstance(model, Rejecting) else model
