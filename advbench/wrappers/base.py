"""What every defense at inference is: settings, and one pure change of a model that stays a model.

How such defenses are to be attacked: Athalye, Carlini & Wagner 2018 (arXiv 1802.00420); Tramer, Carlini, Brendel &
Madry 2020 (arXiv 2002.08347).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
from jax import Array

from advbench.attacks import Model, Randomised, bpda
from advbench.wrappers.facing import Unaware

Shape = tuple[int, int, int]


class Wrapper(ABC):
    """Base of all: a frozen dataclass of settings, read from `name:key=value` by `advbench.core.spec.build`."""

    paper: ClassVar[str]

    @abstractmethod
    def check(self, shape: Shape) -> None:
        """Refuse settings that can't work on images of this shape (H, W, C).

        Raises
        ------
        ValueError
            With one line on what is wrong and what to do.
        """

    def identity(self) -> str:
        """What tells it from any other, for the digest of the defended model."""
        return repr(self)

    @abstractmethod
    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """The defended model.

        Parameters
        ----------
        model : Model
            Images `[B, H, W, C]` float32 in [0, 1] -> logits `[B, K]`.
        shape : tuple of int
            (H, W, C).
        adaptive : bool
            Whether attacks see through the defense (BPDA, EOT), or meet it as it is. What the judge sees is the same.
        """


class Transform(Wrapper):
    """A wrapper that changes the image before the model sees it, always in the same way."""

    def apply(self, x: Array) -> Array:
        """Images `[B, H, W, C]` in [0, 1] -> images of the same shape, as published."""
        raise NotImplementedError

    def stand_in(self, x: Array) -> Array:
        """What attacks differentiate instead (BPDA): the identity, since each transform nearly is one."""
        return x

    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """As `Wrapper.wrap`."""
        return before(self, model, adaptive=adaptive)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Transformed:
    """A `Model`, or one draw of a randomised one, that sees transformed images."""

    transform: Any  # a pytree with `apply`, and `stand_in` if adaptive
    inner: Any  # images, and a key if it is a draw -> logits
    adaptive: bool = field(metadata={"static": True})

    def __call__(self, x: Array, /, *key: Array) -> Array:
        """Logits `[B, K]`."""
        seen = bpda(self.transform.apply, self.transform.stand_in) if self.adaptive else self.transform.apply
        logits: Array = self.inner(seen(x), *key)
        return logits


def before(transform: Any, model: Model, *, adaptive: bool) -> Model:
    """`model` after `transform`; what is randomised stays so."""
    if isinstance(model, Unaware):
        defended, bare = (before(transform, part, adaptive=adaptive) for part in (model.defended, model.bare))
        return Unaware(defended, bare)
    if isinstance(model, Randomised):
        return replace(model, apply=Transformed(transform, model.apply, adaptive))
    return Transformed(transform, model, adaptive)


def static(wrapper: type) -> type:
    """Register a wrapper as a pytree without leaves: its settings shape the compiled program."""
    jax.tree_util.register_static(wrapper)
    return wrapper
