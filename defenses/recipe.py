"""How to train: everything but the defense, the threat and the data."""

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

    The last partial batch of an epoch is dropped; every epoch shuffles anew, so that no image is left out for long.
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: str = "adam"  # or sgd, with Nesterov momentum 0.9
    lr: float = 1e-3  # at its peak
    schedule: str = "cosine"
    milestones: str = ""  # of piecewise: epochs after which lr is a tenth, like 10,15; half and three quarters if none
    warmup: float = 0.0  # epochs in which the learning rate rises linearly
    weight_decay: float = 0.0  # decoupled for adam (AdamW), part of the gradient for sgd
    clip: float = 0.0  # largest global norm of the gradient; 0: any
    label_smoothing: float = 0.0  # share of each label spread over all classes
    ema: float = 0.0  # decay of the moving average that is evaluated and released; 0: the weights themselves
    swa: float = 0.0  # share of the epochs after which the weights are averaged, one snapshot an epoch; 0: never
    eps_warmup: float = 0.0  # epochs in which eps rises linearly from 0; large eps stalls without
    augment: str = "none"  # or crop-flip: random crop after padding by 4, random mirror
    mix: str = "none"  # or mixup, cutmix: each image with another one of its batch
    mix_alpha: float = 1.0  # shares are drawn from Beta(alpha, alpha)
    extra_fraction: float = 0.5  # of every batch, from the extra data where there are any
    perturb_dtype: str = "float32"  # or bfloat16: precision of the network while it is attacked in training
    validation: int = 1000  # training images held out to choose the weights by
    patience: int = 0  # epochs without a better validation accuracy before training ends; 0: never
    class_weights: str = "none"  # in the loss: balanced, or a number for each class, like 1,2.5
    sampler: str = "none"  # or balanced: every class is as likely in a batch
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("milestones", "class_weights"):  # sequences of numbers will do too
            object.__setattr__(self, name, balance.joined(getattr(self, name)))

    @property
    def stored(self) -> dict[str, Any]:
        """The settings as checkpoints and models hold them: `perturb_dtype` by its former name, craft."""
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
        """Whether more epochs would leave those that there are as they are, so that a resumed run may have more."""
        return not self.swa and (self.schedule == "constant" or bool(self.milestones))

    @property
    def extras(self) -> int:
        """Images of a batch that come from the extra data, where there are any."""
        return round(self.extra_fraction * self.batch_size)

    @property
    def unaveraged(self) -> int:
        """Epochs before the first one that stochastic weight averaging counts."""
        return math.ceil(self.swa * self.epochs)

    def transform(self) -> optax.GradientTransformation:
        """Gradient to direction of descent; the loop multiplies by the learning rate."""
        clip = optax.clip_by_global_norm(self.clip) if self.clip else optax.identity()
        decay = optax.add_decayed_weights(self.weight_decay)
        if self.optimizer == "adam":
            return optax.chain(clip, optax.scale_by_adam(), decay)
        return optax.chain(clip, decay, optax.trace(0.9, nesterov=True))

    def lr_at(self, step: Array | int, steps_per_epoch: int) -> Array:
        """Learning rate of a step (counted from 0), a scalar."""
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
        """Share that the average of the weights keeps of itself at a step; the rest are the new weights.

        For EMA it is less at first, to forget the start. SWA (Izmailov et al. 2018, arXiv 1803.05407) takes the weights
        as they are until its first epoch has ended, and then their mean over the ends of epochs.
        """
        if not self.swa:
            return jnp.minimum(self.ema, (1 + step) / (10 + step))
        epochs, within = jnp.divmod(step + 1, steps_per_epoch)
        count = jnp.maximum(epochs - self.unaveraged, 0)
        mean = jnp.where(within == 0, (count - 1) / jnp.maximum(count, 1), 1.0)
        return jnp.where(count == 0, 0.0, mean)

    def eps_at(self, step: int, steps_per_epoch: int, eps: float) -> float:
        """Perturbation budget to train with at a step."""
        return eps * min(1.0, (step + 1) / max(self.eps_warmup * steps_per_epoch, 1.0))


Recipe.__init__ = accepts_former_names(Recipe.__init__)  # type: ignore[method-assign]


def _ramp(step: Array | int, over: float) -> Array:
    return jnp.minimum(1.0, (step + 1) / max(over, 1.0))


class Settings(TypedDict, total=False):
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
