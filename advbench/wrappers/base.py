"""Base classes of input defenses: settings, and a pure function from a model to the defended model.

Adaptive attacks on such defenses follow Athalye, Carlini & Wagner 2018 (arXiv 1802.00420) and Tramer, Carlini, Brendel
& Madry 2020 (arXiv 2002.08347).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
from jax import Array

from advbench.attacks import Model, Randomised, bpda
from advbench.wrappers.facing import NonAdaptive

Shape = tuple[int, int, int]


class Wrapper(ABC):
    """Base of all input defenses: a frozen dataclass of settings, read from `name:key=value`.

    Attributes
    ----------
    paper : str
        Publication of the defense.
    """

    paper: ClassVar[str]

    @abstractmethod
    def check(self, shape: Shape) -> None:
        """Refuse settings that can't work on images of this shape.

        Parameters
        ----------
        shape : tuple of int
            (H, W, C).

        Raises
        ------
        ValueError
            Saying in one line what is wrong and what to do.
        """

    def identity(self) -> str:
        """Return a text that identifies the defense and its settings, for the digest of the defended model.

        Returns
        -------
        str
            By default the name of the class with all settings.
        """
        return repr(self)

    @abstractmethod
    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """Put the defense in front of a model.

        Parameters
        ----------
        model : Model
            Maps images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`.
        shape : tuple of int
            Image shape (H, W, C).
        adaptive : bool
            Attacks know the defense and use BPDA or EOT against it. The judge sees the same model either way.

        Returns
        -------
        Model
            The defended model.

        Raises
        ------
        ValueError
            When the defense can't be combined with this model.
        """


class Transform(Wrapper):
    """An input defense that changes the image before the model sees it, deterministically."""

    def apply(self, x: Array) -> Array:
        """Transform images, as published.

        Parameters
        ----------
        x : Array
            Images `[B, H, W, C]` in [0, 1].

        Returns
        -------
        Array
            Images of the same shape.
        """
        raise NotImplementedError

    def stand_in(self, x: Array) -> Array:
        """Return what attacks differentiate instead of `apply` (BPDA): by default `x`, which is close to `apply(x)`.

        Parameters
        ----------
        x : Array
            Images `[B, H, W, C]` in [0, 1].

        Returns
        -------
        Array
            Images of the same shape.
        """
        return x

    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """Put the transform in front of a model, see `Wrapper.wrap`."""
        return before(self, model, adaptive=adaptive)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Transformed:
    """A `Model`, or one draw of a randomised model, that sees transformed images.

    Attributes
    ----------
    transform : pytree
        Has `apply`, and `stand_in` if `adaptive`.
    inner : callable
        Maps images, and a key for one draw, to logits.
    adaptive : bool
        Attacks differentiate `stand_in` instead of `apply`.
    """

    transform: Any  # a pytree with `apply`, and `stand_in` if adaptive
    inner: Any  # maps images, and a key for one draw, to logits
    adaptive: bool = field(metadata={"static": True})

    def __call__(self, x: Array, /, *key: Array) -> Array:
        """Return logits `[B, K]`."""
        seen = bpda(self.transform.apply, self.transform.stand_in) if self.adaptive else self.transform.apply
        logits: Array = self.inner(seen(x), *key)
        return logits


def before(transform: Any, model: Model, *, adaptive: bool) -> Model:
    """Put a transform in front of a model; a randomised or non-adaptive model stays one.

    Parameters
    ----------
    transform : pytree
        Has `apply`, and `stand_in` if `adaptive`.
    model : Model
        Maps images `[B, H, W, C]` to logits `[B, K]`.
    adaptive : bool
        Attacks differentiate `stand_in` instead of `apply`.

    Returns
    -------
    Model
        The model on transformed images.
    """
    if isinstance(model, NonAdaptive):
        defended, bare = (before(transform, part, adaptive=adaptive) for part in (model.defended, model.bare))
        return NonAdaptive(defended, bare)
    if isinstance(model, Randomised):
        return replace(model, apply=Transformed(transform, model.apply, adaptive))
    return Transformed(transform, model, adaptive)


def static(wrapper: type) -> type:
    """Register a class as a pytree without leaves, so that its settings are static.

    Parameters
    ----------
    wrapper : type
        A frozen dataclass.

    Returns
    -------
    type
        The same class.
    """
    jax.tree_util.register_static(wrapper)
    return wrapper
