"""What every attack is: a frozen bag of hyper-parameters, and one pure call."""

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


class Aim(NamedTuple):
    """What a targeted loss refers to: the true label and the class to reach, int32 `[B]` each."""

    label: Array
    target: Array


class Starts(NamedTuple):
    """The true label, and images of other classes from which an attack may set out; see `Attack.starts`."""

    label: Array  # int32 [B]
    images: Array  # float32 [B, S, H, W, C], the nearest first
    available: Array  # int32 [B]: how many of the S there are; the rest are blank


class Proposal(NamedTuple):
    """What an attack returns. It proposes; whether an image is broken, only the judge says."""

    x: Array  # perturbed images, float32, the clean images' shape
    forwards: Array  # int32 [B]: forward passes spent on each image
    gradients: Array  # int32 [B]: how many of these went on to an input gradient
    claims: Array | None = None  # bool [B]: which images the attack itself counts as broken; None: it does not say
    reached: Array | None = None  # int32 [B]: forward passes by which one first was; None: all of them
    tried: Array | None = None  # bool [B]: False where the attack had no place to start from; None: all were tried


def setting(*, default: Any) -> Any:
    """A field that shapes the compiled program (a choice, a flag): changing it recompiles."""
    return field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(field, setting))
class Plan:
    """A frozen dataclass that is also a pytree: plain fields are traced, `setting`s are static."""

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_dataclass(dataclass(frozen=True)(cls))


class Attack(Plan):
    """Base of all attacks.

    Restarts, cascades and skipping fallen images belong to the judge's loop: an attack is asked
    `runs` times, each time with keys of its own and with what `aim` says of that run.

    Parameters
    ----------
    restarts
        Independent tries of each image, from other random starts; at least 1.
    """

    norms: ClassVar[tuple[str, ...]]  # threat models it can serve
    access: ClassVar[str] = "gradient"  # what it needs of the model: gradient, score, decision, or none
    cost: ClassVar[str]  # of one run at its defaults, for people: "40 gradients", "5,000 queries"
    paper: ClassVar[str]
    stops: ClassVar[bool] = False  # whether an image that fools costs no more passes, so that its count tells when
    starts: ClassVar[int] = 0  # images of other classes it wants for each image; if any, `y` may be a `Starts`
    steady: ClassVar[bool] = False  # whether its search compares single answers, so that noise in them misleads it

    restarts: int = setting(default=1)

    def __init_subclass__(cls) -> None:
        if "aim" in vars(cls):
            cls.aim = own_settings()(vars(cls)["aim"])  # type: ignore[method-assign]
        if "__call__" in vars(cls):
            cls.__call__ = own_settings()(_aimed(vars(cls)["__call__"]))  # type: ignore[method-assign]
        super().__init_subclass__()
        cls.__doc__ = documented(cls)

    def check(self, threat: Threat) -> None:
        """Refuse settings that can't work, before any compute.

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
        """How often the judge asks: restarts, times the target classes of a targeted attack."""
        return self.restarts

    def aim(self, model: Model, x: Array, y: Array, run: int) -> Any:
        """What the loss of this run refers to, a pytree with leading axis B; the labels unless targeted."""
        return y

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        """Perturb `x`, once: restarts and targets are trials that `advbench.attack` and the judge's loop ask for.

        Parameters
        ----------
        model : images `[B, H, W, C]` -> logits `[B, K]`, in evaluation mode.
        threat : the norm ball and pixel box to stay in.
        x : clean images, float32 `[B, H, W, C]` in [0, 1].
        y : what the loss refers to, leading axis B: labels int32 `[B]`, an `Aim`, clean logits, or a `Starts`.
        keys : one PRNG key per image, so that no result depends on the batch.
        """
        raise NotImplementedError


def _aimed(call: Callable[..., Proposal]) -> Callable[..., Proposal]:
    """`__call__`, which refuses labels where it should be told which class to aim at."""

    @wraps(call)
    def checked(attack: Attack, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        if getattr(attack, "targets", 0) and hasattr(y, "dtype"):
            name = type(attack).__name__
            raise ValueError(f"{name} aims at classes, and got labels: call advbench.attack, or give y=attack.aim(...)")
        return call(attack, model, threat, x, y, keys)

    return checked


class Aimed(Attack):
    """Base of attacks that can also aim at chosen classes: the likeliest wrong ones, a run each.

    Parameters
    ----------
    targets
        Classes to aim at, the likeliest wrong ones, a run for each; 0 is untargeted.
    """

    targets: int = setting(default=0)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.targets < 0:
            raise ValueError(f"{type(self).__name__} needs targets >= 0, not {self.targets}")

    def runs(self, classes: int) -> int:
        return self.restarts * max(1, min(self.targets, classes - 1))

    def aim(self, model: Model, x: Array, y: Array, run: int) -> Any:
        return likely_wrong(model, x, y, run // self.restarts) if self.targets else y


def likely_wrong(model: Model, x: Array, y: Array, rank: int) -> Aim:
    """Aim at the `rank`-th most likely wrong class, 0 the likeliest."""
    aim: Aim = _likely_wrong(model, x, y, rank)
    return aim


@jax.jit
def _likely_wrong(model: Model, x: Array, y: Array, rank: Array | int) -> Aim:
    logits = model(x)
    wrong = jnp.where(jax.nn.one_hot(y, logits.shape[-1], dtype=bool), -jnp.inf, logits)
    order = jnp.argsort(-wrong, axis=-1)
    return Aim(y, order[:, rank].astype(y.dtype))
