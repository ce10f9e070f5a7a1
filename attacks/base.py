"""Base classes of all attacks: a frozen dataclass of hyper-parameters with one pure call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.settings import choices, documented
from advbench.core.ambient import own_settings
from advbench.core.model import Model
from advbench.core.threat import Threat


class TargetedLabels(NamedTuple):
    """Reference of a targeted loss.

    Parameters
    ----------
    label : Array
        True labels, int32 `[B]`.
    target : Array
        Classes to reach, int32 `[B]`.
    """

    label: Array
    target: Array


class Starts(NamedTuple):
    """Labels with images of other classes from which an attack may start; see `Attack.starts`.

    Parameters
    ----------
    label : Array
        True labels, int32 `[B]`.
    images : Array
        float32 `[B, S, H, W, C]` in [0, 1], the nearest first.
    available : Array
        int32 `[B]`: number of the S images that exist; the rest are blank.
    """

    label: Array
    images: Array
    available: Array


class Proposal(NamedTuple):
    """Result of an attack. It only proposes: the judge alone decides whether an image is broken.

    Parameters
    ----------
    x : Array
        Perturbed images, float32 `[B, H, W, C]` in [0, 1].
    forwards : Array
        int32 `[B]`: forward passes spent on each image.
    gradients : Array
        int32 `[B]`: input gradients among them.
    claims : Array, optional
        bool `[B]`: images that the attack itself counts as adversarial; None if it does not say.
    reached : Array, optional
        int32 `[B]`: forward passes up to the first success; None: all of them.
    tried : Array, optional
        bool `[B]`: False where the attack found no start; None: all images were tried.
    """

    x: Array
    forwards: Array
    gradients: Array
    claims: Array | None = None
    reached: Array | None = None
    tried: Array | None = None


def setting(*, default: Any) -> Any:
    """Declare a static field (a choice, a flag): changing it recompiles.

    Parameters
    ----------
    default : Any
        Default value of the field.

    Returns
    -------
    Any
        Field of a dataclass.
    """
    return field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(field, setting))
class PytreeConfig:
    """Frozen dataclass that is also a pytree: plain fields are traced, those made by `setting` are static."""

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_dataclass(dataclass(frozen=True)(cls))


class Attack(PytreeConfig):
    """Base of all attacks.

    Restarts, the cascade and skipping broken images belong to the judge's loop: it calls an attack once for each of
    `runs`, with fresh keys and with the reference that `loss_reference` gives for that run.

    Parameters
    ----------
    restarts
        Independent repetitions on each image, each from another random start; at least 1.

    Examples
    --------
    A linear model of two classes, which compares the mean of an image with 0.5:

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from advbench.attacks import FGSM, NORMS, Threat
    >>> @jax.tree_util.Partial
    ... def model(x):
    ...     mean = x.mean((1, 2, 3))
    ...     return jnp.stack([0.5 - mean, mean - 0.5], -1)
    >>> x, y = jnp.full((2, 6, 6, 1), 0.4), jnp.array([0, 0])
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> linf, l2 = Threat(NORMS["linf"], 0.2), Threat(NORMS["l2"], 2.0)
    >>> found = FGSM()(model, linf, x, y, keys)
    >>> model(found.x).argmax(-1).tolist(), found.gradients.tolist()
    ([1, 1], [1, 1])
    """

    norms: ClassVar[tuple[str, ...]]  # names of the norms that it supports
    access: ClassVar[str] = "gradient"  # needed of the model: gradient, score (logits) or decision (class)
    cost: ClassVar[str]  # of one run at the defaults, for people: "40 gradients", "5,000 queries"
    paper: ClassVar[str]
    stops: ClassVar[bool] = False  # whether an image costs nothing more once it is misclassified
    starts: ClassVar[int] = 0  # images of other classes wanted per image; if any, `y` may be a `Starts`
    steady: ClassVar[bool] = False  # whether it compares single answers, so that noisy ones mislead it

    restarts: int = setting(default=1)

    def __init_subclass__(cls) -> None:
        if "loss_reference" in vars(cls):
            cls.loss_reference = own_settings()(vars(cls)["loss_reference"])  # type: ignore[method-assign]
        if "__call__" in vars(cls):
            cls.__call__ = own_settings()(_aimed(vars(cls)["__call__"]))  # type: ignore[method-assign]
        super().__init_subclass__()
        cls.__doc__ = documented(cls)

    def check(self, threat: Threat) -> None:
        """Refuse settings that can't work, before any compute.

        Parameters
        ----------
        threat : Threat
            Norm and eps to attack in.

        Raises
        ------
        ValueError
            With one line on what is wrong and what to do.
        """
        name = type(self).__name__
        if threat.norm.name not in self.norms:
            raise ValueError(f"{name} can't attack in {threat.norm.name}; it serves {', '.join(self.norms)}")
        for setting, words in choices(type(self)).items():
            if (value := getattr(self, setting)) not in words:
                raise ValueError(f"{name} has no {setting} {value!r}; it has: {', '.join(words)}")
        if self.restarts < 1:
            raise ValueError(f"{name} needs at least one restart, not {self.restarts}")

    def runs(self, classes: int) -> int:
        """Count the calls that the judge makes: restarts, times the target classes of a targeted attack.

        Parameters
        ----------
        classes : int
            Number of classes K.

        Returns
        -------
        int
            At least 1.
        """
        return self.restarts

    def loss_reference(self, model: Model, x: Array, y: Array, run: int) -> Any:
        """Return the reference of the loss for one run; the labels unless targeted.

        Parameters
        ----------
        model : Model
            Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
        x : Array
            Images, float32 `[B, H, W, C]` in [0, 1].
        y : Array
            Labels, int32 `[B]`.
        run : int
            Number of the run, from 0 to `runs(classes) - 1`.

        Returns
        -------
        Any
            Pytree with leading axis B, to be given as `y`.
        """
        return y

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        """Perturb `x` once; `advbench.attack` and the judge's loop add restarts and target classes.

        Parameters
        ----------
        model : Model
            Images `[B, H, W, C]` to logits `[B, K]`, in evaluation mode.
        threat : Threat
            Norm ball and pixel box to stay in.
        x : Array
            Clean images, float32 `[B, H, W, C]` in [0, 1].
        y : Any
            Reference of the loss, leading axis B: labels int32 `[B]`, a `TargetedLabels`, clean logits, or a `Starts`.
        keys : Array
            One PRNG key per image, so that no result depends on the batch.

        Returns
        -------
        Proposal
            Images within the ball, and their cost.
        """
        raise NotImplementedError


def _aimed(call: Callable[..., Proposal]) -> Callable[..., Proposal]:
    """Wrap `__call__` to refuse labels for an attack that needs target classes."""

    @wraps(call)
    def checked(attack: Attack, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        if getattr(attack, "targets", 0) and hasattr(y, "dtype"):
            name = type(attack).__name__
            raise ValueError(f"{name} aims at classes, and got labels: call advbench.attack, or give y=attack.aim(...)")
        return call(attack, model, threat, x, y, keys)

    return checked


class Targeted(Attack):
    """Base of attacks that can also aim at classes: the likeliest wrong ones, one run for each.

    Parameters
    ----------
    targets
        Classes to aim at, the likeliest wrong ones, one run for each; at least 0, which is untargeted.
    """

    targets: int = setting(default=0)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.targets < 0:
            raise ValueError(f"{type(self).__name__} needs targets >= 0, not {self.targets}")

    def runs(self, classes: int) -> int:
        return self.restarts * max(1, min(self.targets, classes - 1))

    def loss_reference(self, model: Model, x: Array, y: Array, run: int) -> Any:
        return likely_wrong(model, x, y, run // self.restarts) if self.targets else y


def likely_wrong(model: Model, x: Array, y: Array, rank: int) -> TargetedLabels:
    """Aim at the `rank`-th most likely wrong class, 0 the likeliest.

    Parameters
    ----------
    model : Model
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    x : Array
        Images, float32 `[B, H, W, C]` in [0, 1].
    y : Array
        Labels, int32 `[B]`.
    rank : int
        From 0 to K - 2.

    Returns
    -------
    TargetedLabels
        Labels and target classes.
    """
    loss_reference: TargetedLabels = _likely_wrong(model, x, y, rank)
    return loss_reference


@jax.jit
def _likely_wrong(model: Model, x: Array, y: Array, rank: Array | int) -> TargetedLabels:
    logits = model(x)
    wrong = jnp.where(jax.nn.one_hot(y, logits.shape[-1], dtype=bool), -jnp.inf, logits)
    order = jnp.argsort(-wrong, axis=-1)
    return TargetedLabels(y, order[:, rank].astype(y.dtype))
