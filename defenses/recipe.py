"""Settings of training: everything but the defense, the threat model and the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, TypedDict

import jax.numpy as jnp
import optax
from jax import Array

from advbench.core.renamed import accepts_former_names
from advbench.defenses import balance
from advbench.defenses.mix import KINDS

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine", "one-cycle", "piecewise")
AUGMENTS = ("none", "crop-flip")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """Settings of the training loop.

    The last partial batch of an epoch is dropped; every epoch is shuffled, so that no image is left out for long.

    Parameters
    ----------
    epochs : int, default 20
        Passes over the training images, at least 1.
    batch_size : int, default 128
        Images per step, at least 1.
    optimizer : str, default 'adam'
        "adam", or "sgd" with Nesterov momentum 0.9.
    lr : float, default 0.001
        Learning rate at its peak, above 0.
    schedule : str, default 'cosine'
        "constant", "cosine", "one-cycle" or "piecewise".
    milestones : str, default ''
        For piecewise: epochs after which the learning rate is divided by 10, like 10,15; by default half and three
        quarters.
    warmup : float, default 0.0
        Epochs in which the learning rate rises linearly.
    weight_decay : float, default 0.0
        Decoupled for adam (AdamW), part of the gradient for sgd.
    clip : float, default 0.0
        Largest global norm of the gradient; 0 does not clip.
    label_smoothing : float, default 0.0
        Share of each label spread over all classes, in [0, 1).
    ema : float, default 0.0
        Decay of the moving average of weights that is evaluated and released, in [0, 1); 0 is the weights themselves.
    swa : float, default 0.0
        Share of the epochs after which the weights are averaged, one snapshot an epoch, in [0, 1); 0 is never.
    eps_warmup : float, default 0.0
        Epochs in which eps rises linearly from 0; training with a large eps stalls without.
    augment : str, default 'none'
        "none", or "crop-flip": random crop after padding by 4, random mirror.
    mix : str, default 'none'
        "none", "mixup" or "cutmix": mix each image with another one of its batch.
    mix_alpha : float, default 1.0
        Shares of mixed images are drawn from Beta(alpha, alpha), above 0.
    extra_fraction : float, default 0.5
        Share of every batch from the extra data, if there are any, in (0, 1).
    perturb_dtype : str, default 'float32'
        "float32" or "bfloat16": type that the network computes in while adversarial training examples are made.
    validation : int, default 1000
        Training images held out to choose the weights by, at least 1.
    patience : int, default 0
        Epochs without a better validation accuracy after which training ends; 0 is never.
    class_weights : str, default 'none'
        In the loss: "none", "balanced", or a number for each class, like 1,2.5.
    sampler : str, default 'none'
        "none", or "balanced": every class is equally likely in a batch.
    seed : int, default 0
        Fixes everything random.

    Examples
    --------
    >>> Recipe(epochs=2, optimizer="sgd", lr=0.1).check()
    >>> Recipe(epochs=2, optimizer="sgd", lr=0.1, eps_warmup=1.0).eps_at(0, 10, 0.3)
    0.03
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: str = "adam"
    lr: float = 1e-3
    schedule: str = "cosine"
    milestones: str = ""
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    swa: float = 0.0
    eps_warmup: float = 0.0
    augment: str = "none"
    mix: str = "none"
    mix_alpha: float = 1.0
    extra_fraction: float = 0.5
    perturb_dtype: str = "float32"
    validation: int = 1000
    patience: int = 0
    class_weights: str = "none"
    sampler: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("milestones", "class_weights"):  # sequences of numbers are accepted too
            object.__setattr__(self, name, balance.joined(getattr(self, name)))

    @property
    def stored(self) -> dict[str, Any]:
        """Settings as checkpoints and models hold them, with `perturb_dtype` by its former name, craft."""
        return {"craft" if name == "perturb_dtype" else name: value for name, value in asdict(self).items()}

    def check(self) -> None:
        """Refuse settings that make no sense.

        Raises
        ------
        ValueError
            With one line on what is wrong.
        """
        choices = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "augment": AUGMENTS,
            "mix": KINDS,
            "perturb_dtype": PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r} (there are: {', '.join(known)})")
        if min(self.epochs, self.batch_size, self.validation) < 1 or not self.lr > 0:
            raise ValueError("epochs, batch size and validation images must be at least 1, and lr above 0")
        if not (0 <= self.ema < 1 and 0 <= self.label_smoothing < 1):
            raise ValueError("ema and label smoothing must be at least 0 and below 1")
        self._check_average()
        self._check_milestones()
        balance.check(self.class_weights, self.sampler)
        if not (0 < self.extra_fraction < 1 and 0 < self.mix_alpha < math.inf):
            raise ValueError("the extra fraction must lie between 0 and 1, and mix alpha above 0")
        if min(self.warmup, self.weight_decay, self.clip, self.eps_warmup, self.patience) < 0:
            raise ValueError("warmup, weight decay, clip, eps warmup and patience can't be negative")

    def _check_average(self) -> None:
        if self.swa and self.ema:
            raise ValueError("ema and swa both average the weights: choose one")
        if not 0 <= self.swa < 1:
            raise ValueError("swa must be at least 0 and below 1: the share of the epochs after which averaging begins")
        if self.swa and self.epochs - self.unaveraged < 2:
            raise ValueError(f"swa {self.swa:g} must leave two epochs or more of {self.epochs} to average")

    def _check_milestones(self) -> None:
        if not self.milestones:
            return
        if self.schedule != "piecewise":
            raise ValueError(f"milestones are of the schedule piecewise, not of {self.schedule}")
        if not all(0 < a < b for a, b in pairwise((*self._milestones, math.inf))):
            raise ValueError(f"milestones {self.milestones} must be epochs above 0 that rise")

    @property
    def _milestones(self) -> tuple[float, ...]:
        return balance.numbers(self.milestones, "milestones")

    @property
    def may_grow(self) -> bool:
        """True if a resumed run may have more epochs, without changing those already trained."""
        return not self.swa and (self.schedule == "constant" or bool(self.milestones))

    @property
    def extras(self) -> int:
        """Images of a batch that come from the extra data, if there are any."""
        return round(self.extra_fraction * self.batch_size)

    @property
    def unaveraged(self) -> int:
        """Epochs before the first one that stochastic weight averaging counts."""
        return math.ceil(self.swa * self.epochs)

    def transform(self) -> optax.GradientTransformation:
        """Build the transformation from gradient to descent direction; the loop multiplies by the learning rate.

        Returns
        -------
        optax.GradientTransformation
            Optax transformation.
        """
        clip = optax.clip_by_global_norm(self.clip) if self.clip else optax.identity()
        decay = optax.add_decayed_weights(self.weight_decay)
        if self.optimizer == "adam":
            return optax.chain(clip, optax.scale_by_adam(), decay)
        return optax.chain(clip, decay, optax.trace(0.9, nesterov=True))

    def lr_at(self, step: Array | int, steps_per_epoch: int) -> Array:
        """Return the learning rate of a step.

        Parameters
        ----------
        step : Array or int
            Number of the step, from 0.
        steps_per_epoch : int
            Steps in an epoch.

        Returns
        -------
        Array
            Scalar.
        """
        total = self.epochs * steps_per_epoch
        falls = [total // 2, total * 3 // 4]
        if self.milestones:
            falls = [round(epoch * steps_per_epoch) for epoch in self._milestones]
        schedules = {
            "constant": lambda: optax.constant_schedule(self.lr),
            "cosine": lambda: optax.cosine_decay_schedule(self.lr, total),
            "one-cycle": lambda: optax.cosine_onecycle_schedule(total, self.lr),
            "piecewise": lambda: optax.piecewise_constant_schedule(self.lr, dict.fromkeys(falls, 0.1)),
        }
        return jnp.asarray(schedules[self.schedule]()(step)) * _ramp(step, self.warmup * steps_per_epoch)

    def keep_at(self, step: Array | int, steps_per_epoch: int) -> Array:
        """Return the share that the average of the weights keeps of itself at a step; the rest are the new weights.

        For EMA it is smaller at first, to forget the initial weights. SWA (Izmailov et al. 2018, arXiv 1803.05407)
        takes the weights as they are until its first epoch has ended, and then their mean over the ends of epochs.

        Parameters
        ----------
        step : Array or int
            Number of the step, from 0.
        steps_per_epoch : int
            Steps in an epoch.

        Returns
        -------
        Array
            Scalar in [0, 1].
        """
        if not self.swa:
            return jnp.minimum(self.ema, (1 + step) / (10 + step))
        epochs, within = jnp.divmod(step + 1, steps_per_epoch)
        count = jnp.maximum(epochs - self.unaveraged, 0)
        mean = jnp.where(within == 0, (count - 1) / jnp.maximum(count, 1), 1.0)
        return jnp.where(count == 0, 0.0, mean)

    def eps_at(self, step: int, steps_per_epoch: int, eps: float) -> float:
        """Return the perturbation budget of a step.

        Parameters
        ----------
        step : int
            Number of the step, from 0.
        steps_per_epoch : int
            Steps in an epoch.
        eps : float
            Perturbation budget after warming up, white being 1.

        Returns
        -------
        float
            At most `eps`.
        """
        return eps * min(1.0, (step + 1) / max(self.eps_warmup * steps_per_epoch, 1.0))


Recipe.__init__ = accepts_former_names(Recipe.__init__)  # type: ignore[method-assign]


def _ramp(step: Array | int, over: float) -> Array:
    return jnp.minimum(1.0, (step + 1) / max(over, 1.0))


class RecipeSettings(TypedDict, total=False):
    """The fields of `Recipe`, as keywords."""

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    schedule: str
    milestones: str | Sequence[float]
    warmup: float
    weight_decay: float
    clip: float
    label_smoothing: float
    ema: float
    swa: float
    eps_warmup: float
    augment: str
    mix: str
    mix_alpha: float
    extra_fraction: float
    perturb_dtype: str
    validation: int
    patience: int
    class_weights: str | Sequence[float]
    sampler: str
    seed: int
