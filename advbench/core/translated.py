"""A network that lives outside JAX and its translation to JAX: attacks compute the one, the judge asks the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import jax
from jax import Array

from advbench.core.choice import Wanted
from advbench.core.external import External
from advbench.core.outputs import Logits

T = TypeVar("T")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Translated:
    """A `Model`: the translation, which keeps what it was made of.

    Parameters
    ----------
    translation : Logits
        Computed wherever the model is called; the same function to rounding.
    original : External
    """

    translation: Logits
    original: External

    def __call__(self, x: Array, /) -> Array:
        """Logits `[B, K]` of the translation."""
        return self.translation(x)

    @property
    def wanted(self) -> Wanted:
        """Criterion by which the logits are chosen."""
        return self.translation.wanted

    @property
    def given(self) -> Iterable[str]:
        """Names of the types that logits had."""
        return self.original.given

    def expecting(self, wanted: Wanted) -> Self:
        """Choose the logits by another criterion, as `outputs.Network.expecting` does."""
        return replace(self, translation=self.translation.expecting(wanted), original=self.original.expecting(wanted))


def originals(model: T) -> T:
    """Replace every translation in a model by the network that it translates.

    Parameters
    ----------
    model : T
        Pytree, such as a network behind input defenses.

    Returns
    -------
    T
        The same pytree with the original networks.
    """
    found: T = jax.tree.map(
        lambda node: node.original if isinstance(node, Translated) else node,
        model,
        is_leaf=lambda node: isinstance(node, Translated),
    )
    return found


def is_translated(model: object) -> bool:
    """Return whether any part of a model is a translation.

    Parameters
    ----------
    model : object
        Pytree, such as a network behind input defenses.

    Returns
    -------
    bool
        Whether it contains a `Translated`.
    """
    nodes = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, Translated))
    return any(isinstance(node, Translated) for node in nodes)
