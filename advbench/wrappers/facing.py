"""The models that attacks and the judge see, which differ behind input defenses and for randomised models."""

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
class NonAdaptive:
    """A defended `Model`, with the undefended network that non-adaptive attacks see instead.

    Attributes
    ----------
    defended : Model
        Sees images after the input defense.
    bare : Model
        Has no input defense.
    """

    defended: Model
    bare: Model

    def __call__(self, x: Array, /) -> Array:
        """Return logits of the defended model, `[B, K]`."""
        return self.defended(x)


@runtime_checkable
class Rejecting(Protocol):
    """A `Model` with one logit more than classes; an image is rejected if that last logit is the largest."""

    def against(self, y: Array) -> Model:
        """Return the model for adversarial images with labels `y`, `[B]`: a rejected image counts as correct."""


def rejects(model: Model) -> bool:
    """Return whether the model's last logit is not a class but rejects the image.

    Parameters
    ----------
    model : Model
        The model as the evaluation holds it.

    Returns
    -------
    bool
        True for detectors.
    """
    return isinstance(model.defended if isinstance(model, NonAdaptive) else model, Rejecting)


def attack_view(model: Model, x: Array, y: Array) -> Model:
    """Return the model that attacks see.

    In place of a defended model, a minimum-norm attack sees the undefended network and must reach a margin as large as
    that of the clean image for its label.

    Parameters
    ----------
    model : Model
        The model as the evaluation holds it.
    x, y : Array
        Clean images `[B, H, W, C]`, and labels int32 `[B]`.

    Returns
    -------
    Model
        Maps images `[B, H, W, C]` to logits.
    """
    if isinstance(model, NonAdaptive):
        bare = attack_view(model.bare, x, y)
        return bare if judged_elsewhere(bare) else Substitute(bare, jnp.abs(_margin(bare, x, y)))
    return model.against(y) if isinstance(model, Rejecting) else model


@jax.jit
def _margin(model: Model, x: Array, y: Array) -> Array:
    return jax.vmap(margin)(model(x), y)


def adaptive(model: Model) -> Model:
    """Return the model that adaptive attacks see.

    Parameters
    ----------
    model : Model
        The model as the evaluation holds it.

    Returns
    -------
    Model
        With its input defenses.
    """
    return model.defended if isinstance(model, NonAdaptive) else model


def judge_view(model: Model) -> Model:
    """Return the model that the judge sees.

    It is the network itself instead of its translation, has new draws if randomised, and no cached answers if remote.

    Parameters
    ----------
    model : Model
        The model as the evaluation holds it.

    Returns
    -------
    Model
        With its input defenses; in place of a translation, the network itself.
    """
    if isinstance(model, NonAdaptive):
        return judge_view(model.defended)
    model = originals(model)
    return model.reseeded() if isinstance(model, Randomised | Remote) else model


def adversarial_view(model: Model, y: Array) -> Model:
    """Return the model that judges adversarial images; clean images use `model` itself.

    Parameters
    ----------
    model : Model
        The model that the judge sees.
    y : Array
        Labels, int32 `[B]`.

    Returns
    -------
    Model
        For a detector, rejected images count as correct.
    """
    return model.against(y) if isinstance(model, Rejecting) else model
