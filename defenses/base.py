"""A defense answers two questions: which images to train on, and what loss to pay on them."""

from __future__ import annotations

from typing import ClassVar

import jax
import optax
from jax import Array

from advbench.attacks.base import Model, Plan
from advbench.attacks.threat import Threat


class Defense(Plan):
    """Base of all defenses. The two questions are apart, so that no gradient can flow through the attack."""

    paper: ClassVar[str]
    robust: ClassVar[bool] = True  # whether robust or clean validation accuracy says which weights are the best
    watch: ClassVar[int] = 0  # steps between looks for catastrophic overfitting; 0: after each epoch only

    def check(self, threat: Threat) -> None:
        """Refuse settings that can't work, before any compute.

        Raises
        ------
        ValueError
            With one line on what is wrong and what to do.
        """

    def craft(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        """Choose the images to train on; the clean ones unless overridden.

        Called outside of any trace: the attack jits itself and decides where its loop runs.

        Parameters
        ----------
        model : images `[B, H, W, C]` -> logits `[B, K]`, in evaluation mode.
        threat : the ball to stay in; its eps may still be warming up.
        x : clean images, float32 `[B, H, W, C]` in [0, 1].
        y : labels, int32 `[B]`.
        keys : one PRNG key per image.

        Returns
        -------
        Array
            Images of the shape of `x`, in [0, 1].
        """
        return x

    def at(self, threat: Threat, ramp: float) -> Defense:
        """The defense as it pays now; itself unless its loss needs eps, or follows a schedule of its own.

        Parameters
        ----------
        threat : the ball, with the eps of this step.
        ramp : how far eps has come, in (0, 1].
        """
        return self

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        """Price the crafted images; plain cross-entropy unless overridden.

        Parameters
        ----------
        model : images `[B, H, W, C]` -> logits `[B, K]`, in training mode.
        x, x_adv : clean and crafted images.
        target : class probabilities `[B, K]`: one-hot labels, smoothed if the recipe says so.

        Returns
        -------
        tuple of Array
            The batch's mean loss, a scalar, and the logits `[B, K]` of `x_adv`.
        """
        logits = model(x_adv)
        return optax.softmax_cross_entropy(logits, target).mean(), logits


@jax.jit
def predict(model: Model, x: Array) -> Array:
    """Logits `[B, K]`, compiled once for each architecture."""
    return model(x)
