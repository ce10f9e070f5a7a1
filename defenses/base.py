"""Base classes of defenses: the images to train on, and the loss on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import optax
from jax import Array

from advbench.attacks import PGD
from advbench.attacks.base import PytreeConfig
from advbench.attacks.settings import documented
from advbench.core.model import Model
from advbench.core.threat import Threat

Cost = Callable[[Any, Array], tuple[Array, Any]]
"""Weights and adversarial training examples -> the batch's loss, a scalar, and auxiliary output of the step."""


class StepInputs(NamedTuple):
    """Inputs of one training step.

    Parameters
    ----------
    x : Array
        Clean images, float32 `[B, H, W, C]` in [0, 1].
    x_adv : Array
        Adversarial training examples.
    threat : Threat
        Norm ball; its eps may still be warming up.
    epoch : Array or float
        Epochs completed, a fraction.
    memory : Any
        Memory left by the previous step.
    """

    x: Array
    x_adv: Array
    threat: Threat
    epoch: Array | float
    memory: Any


class Defense(PytreeConfig):
    """Base of all defenses. Images and loss are separate, so that no gradient can flow through the attack.

    Most defenses need only `perturb` and `loss`. The other hooks are for those that choose where the gradient is
    taken, carry something from step to step, or are validated by something else than PGD.

    Examples
    --------
    >>> from advbench.defenses import TRADES
    >>> from advbench.attacks import NORMS, Threat
    >>> TRADES(beta=1.0).check(Threat(NORMS["linf"], 8 / 255))
    >>> TRADES(beta=-1.0).check(Threat(NORMS["linf"], 8 / 255))
    Traceback (most recent call last):
        ...
    ValueError: TRADES needs beta >= 0, not -1
    """

    paper: ClassVar[str]
    robust: ClassVar[bool] = True  # the best weights have the highest robust (else clean) validation accuracy
    against: ClassVar[str] = "PGD-10"  # attack that measures robust accuracy, for people
    watch: ClassVar[int] = 0  # steps between checks for catastrophic overfitting; 0: after each epoch only

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = documented(cls)

    @property
    def visits(self) -> int:
        """Number of consecutive steps on each batch."""
        return 1

    def check(self, threat: Threat) -> None:
        """Refuse settings that can't work, before any compute.

        Parameters
        ----------
        threat : Threat
            Norm and eps to train for.

        Raises
        ------
        ValueError
            With one line on what is wrong and what to do.
        """

    def perturb(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        """Return the images to train on; the clean ones unless overridden.

        Called outside of any trace: the attack jits itself and decides where its loop runs.

        Parameters
        ----------
        model : Model
            Images `[B, H, W, C]` to logits `[B, K]`, in evaluation mode.
        threat : Threat
            Norm ball to stay in; its eps may still be warming up.
        x : Array
            Clean images, float32 `[B, H, W, C]` in [0, 1].
        y : Array
            Labels, int32 `[B]`.
        keys : Array
            One PRNG key per image.

        Returns
        -------
        Array
            Images in the shape of `x`, in [0, 1]; or `[B, n, H, W, C]` where `loss` wants several of each.
        """
        return x

    def at(self, threat: Threat, ramp: float) -> Defense:
        """Return the defense for this step; itself unless its loss needs eps, or follows a schedule of its own.

        Parameters
        ----------
        threat : Threat
            Norm ball, with the eps of this step.
        ramp : float
            Fraction of the final eps, in (0, 1].

        Returns
        -------
        Defense
            Defense with the weights of this step.
        """
        return self

    def loss(self, model: Model, x: Array, x_adv: Array, target: Array) -> tuple[Array, Array]:
        """Return the loss of each image; plain cross-entropy unless overridden.

        Parameters
        ----------
        model : Model
            Images `[B, H, W, C]` to logits `[B, K]`, in training mode.
        x, x_adv : Array
            Clean images and adversarial training examples.
        target : Array
            Class probabilities `[B, K]`: one-hot labels, smoothed if the recipe says so.

        Returns
        -------
        tuple[Array, Array]
            Losses `[B]`, of which the mean is minimised, and the logits `[B, K]` of the adversarial training examples.
        """
        logits = model(x_adv)
        return optax.softmax_cross_entropy(logits, target), logits

    def remember(self, shape: tuple[int, ...]) -> Any:
        """Return the memory of the first step, a pytree of arrays; nothing unless overridden.

        Parameters
        ----------
        shape : tuple[int, ...]
            Shape of a batch of images, `(B, H, W, C)`.

        Returns
        -------
        Any
            Pytree.
        """
        return ()

    def gradient(self, cost: Cost, params: Any, here: StepInputs) -> tuple[tuple[Array, Any], Any, Any]:
        """Differentiate the cost; at the weights and images as they are unless overridden.

        Parameters
        ----------
        cost : Cost
            Weights and images to the loss and auxiliary output.
        params : Any
            Weights of the network.
        here : StepInputs
            Inputs of the step.

        Returns
        -------
        tuple[tuple[Array, Any], Any, Any]
            Output of `cost`, its gradient with respect to the weights, and the memory for the next step.
        """
        value, input_gradient = jax.value_and_grad(cost, has_aux=True)(params, here.x_adv)
        return value, input_gradient, here.memory

    def probe(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        """Perturb validation images for measuring robust accuracy.

        Parameters
        ----------
        model : Model
            Images `[B, H, W, C]` to logits `[B, K]`, in evaluation mode.
        threat : Threat
            Norm ball to stay in.
        x : Array
            Clean images, float32 `[B, H, W, C]` in [0, 1].
        y : Array
            Labels, int32 `[B]`.
        keys : Array
            One PRNG key per image.

        Returns
        -------
        Array
            Images in the shape of `x`.
        """
        return PGD(steps=10, rel_step_size=0.25)(model, threat, x, y, keys).x


class ByAttack(Defense):
    """Base of defenses that train on the output of one attack, built from the defense's settings."""

    @property
    def attack(self) -> PGD:
        """The attack that makes the adversarial training examples."""
        raise NotImplementedError

    def check(self, threat: Threat) -> None:
        self.attack.check(threat)

    def perturb(self, model: Model, threat: Threat, x: Array, y: Array, keys: Array) -> Array:
        return self.attack(model, threat, x, y, keys).x


@jax.jit
def predict(model: Model, x: Array) -> Array:
    """Return logits, compiled once for each architecture.

    Parameters
    ----------
    model : Model
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    x : Array
        Images, float32 `[B, H, W, C]` in [0, 1].

    Returns
    -------
    Array
        float32 `[B, K]`.
    """
    return model(x)
