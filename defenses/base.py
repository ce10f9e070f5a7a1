"""A defense answers two questions: which images to train on, and what loss to pay on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import optax
from jax import Array

from advbench.attacks import PGD
from advbench.attacks.base import Plan
from advbench.core.model import Model
from advbench.core.threat import Threat

Cost = Callable[[Any, Array], tuple[Array, Any]]
"""Weights and crafted images -> the batch's loss, a scalar, and what else the step keeps."""


class Here(NamedTuple):
    """Where a step is taken."""

    x: Array  # clean images
    x_adv: Array  # crafted images
    threat: Threat  # its eps may still be warming up
    epoch: Array | float  # epochs gone by, a fraction
    memory: Any  # what the step before left


class Defense(Plan):
    """Base of all defenses. The two questions are apart, so that no gradient can flow through the attack.

    Most defenses need no more than `craft` and `loss`. The other hooks are for those that say where the gradient is
    taken, carry something from step to step, or are judged by something else than PGD.
    """

    paper: ClassVar[str]
    robust: ClassVar[bool] = True  # whether robust or clean validation accuracy says which weights are the best
    against: ClassVar[str] = "PGD-10"  # what robust accuracy is measured against, for people
    watch: ClassVar[int] = 0  # steps between looks for catastrophic overfitting; 0: after each epoch only

    @property
    def visits(self) -> int:
        """How many steps in a row are taken on each batch."""
        return 1

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
            Images of the shape of `x`, in [0, 1]; or `[B, n, H, W, C]` where `loss` wants several of each.
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
        """Price the crafted images, each by itself; plain cross-entropy unless overridden.

        Parameters
        ----------
        model : images `[B, H, W, C]` -> logits `[B, K]`, in training mode.
        x, x_adv : clean and crafted images.
        target : class probabilities `[B, K]`: one-hot labels, smoothed if the recipe says so.

        Returns
        -------
        tuple of Array
            The loss of each image, `[B]`, of which the mean is paid, and the logits `[B, K]` of the crafted images.
        """
        logits = model(x_adv)
        return optax.softmax_cross_entropy(logits, target), logits

    def remember(self, shape: tuple[int, ...]) -> Any:
        """What the first step is given as memory, a pytree of arrays; nothing unless overridden.

        Parameters
        ----------
        shape : of a batch of images, `(B, H, W, C)`.
        """
        return ()

    def gradient(self, cost: Cost, params: Any, here: Here) -> tuple[tuple[Array, Any], Any, Any]:
        """Differentiate the cost; at the weights and crafted images as they are unless overridden.

        Returns
        -------
        tuple
            What `cost` returned, its gradient with respect to the weights, and the memory for the next step.
        """
        value, slope = jax.value_and_grad(cost, has_aux=True)(params, here.x_adv)
        return value, slope, here.memory

    def probe(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        """Move validation images to where robust accuracy is measured; parameters as for `craft`."""
        return PGD(steps=10, rel_step_size=0.25)(model, threat, x, y, keys).x


class ByAttack(Defense):
    """A defense that trains on what one attack finds: `attack` says which, with the defense's settings."""

    @property
    def attack(self) -> PGD:
        """The attack that crafts the images."""
        raise NotImplementedError

    def check(self, threat: Threat) -> None:
        self.attack.check(threat)

    def craft(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        return self.attack(model, threat, x, y, keys).x


@jax.jit
def predict(model: Model, x: Array) -> Array:
    """Logits `[B, K]`, compiled once for each architecture."""
    return model(x)
