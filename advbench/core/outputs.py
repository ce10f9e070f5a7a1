"""Networks as models of float32 logits: the one place where their outputs are chosen and cast.

Networks return one array, or several, of which `advbench.core.choice` picks the logits; in float32, or in half
precision. Attacks, the judge and tests see float32 logits only. Their former type is returned by `logits_type`, since
ties and rounding hide small margins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core.choice import ANY, NAMED, Wanted, picked
from advbench.core.errors import UsageError
from advbench.core.model import Model
from advbench.core.randomised import Randomised

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel


@runtime_checkable
class Network(Protocol):
    """Origin of a model's logits: the innermost part that is a `Model` by itself."""

    wanted: Wanted

    def expecting(self, wanted: Wanted) -> Self:
        """Return the same network, with the logits chosen among its outputs by this criterion.

        Parameters
        ----------
        wanted : Wanted
            Name or width of the output.

        Returns
        -------
        Self
            The same network, with these logits.
        """


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Logits:
    """A network computed by JAX, as a `Model`.

    Parameters
    ----------
    network : Callable[..., Any]
        Callable pytree: images `[B, H, W, C]`, and any further inputs, to logits `[B, K]` or several outputs.
    wanted : Wanted, optional
        Criterion for the logits.
    single : bool, optional
        Whether logits are cast to float32.
    """

    network: Callable[..., Any]
    wanted: Wanted = field(default=ANY, metadata={"static": True})
    single: bool = field(default=True, metadata={"static": True})

    def __call__(self, x: Array, /, *more: Array) -> Array:
        """Logits `[B, K]`."""
        logits = picked(self.network(x, *more), self.wanted)
        if not hasattr(logits, "dtype"):
            raise UsageError(f"a model should give logits [B, K], not {type(logits).__name__}")
        return jnp.asarray(logits, jnp.float32) if self.single else jnp.asarray(logits)

    def expecting(self, wanted: Wanted) -> Self:
        """Choose the logits by another criterion; see `Network.expecting`.

        Parameters
        ----------
        wanted : Wanted
            Name or width of the output.

        Returns
        -------
        Self
            The same network, with these logits.
        """
        return self if wanted == self.wanted else replace(self, wanted=wanted)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RejectingLogits(Logits):
    """The same for a network that may reject images; see `advbench.wrappers.facing.Rejecting`."""

    def against(self, y: Array) -> Model:
        """Return the model that counts rejections of adversarial images; see `Rejecting.against`.

        Parameters
        ----------
        y : Array
            Labels, int32 `[B]`.

        Returns
        -------
        Model
            Model of these images.
        """
        network: Any = self.network
        return Logits(network.against(y), self.wanted, self.single)


def as_model(network: Any) -> Model:
    """Wrap a network as a `Model` with float32 logits; a `Model` is returned as it is.

    Parameters
    ----------
    network : Any
        Callable on images `[B, H, W, C]`.

    Returns
    -------
    Model
        Images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]` float32.
    """
    if next(_networks(network), None) is not None:
        return network  # type: ignore[no-any-return]
    if isinstance(network, Randomised):
        return replace(network, apply=Logits(network.apply))
    if jax.tree_util.all_leaves([network]):  # a plain function is no JAX type, and could not go into a program
        network = jax.tree_util.Partial(network)
    return (RejectingLogits if hasattr(network, "against") else Logits)(network)


def expecting(model: LoadedModel, classes: int, name: str | None = None) -> LoadedModel:
    """Choose a model's logits for given data, so that of several outputs the right one is taken.

    Parameters
    ----------
    model : LoadedModel
        The model.
    classes : int
        Number of classes of the data.
    name : str, optional
        Output that holds the logits: a dictionary's key, or a position in a tuple.

    Returns
    -------
    LoadedModel
        The model; with another digest if a name was given, since it is then another classifier.
    """

    def told(network: Network) -> Network:
        return network.expecting(Wanted(name or network.wanted.name, classes))

    predict = jax.tree.map(lambda node: told(node) if isinstance(node, Network) else node, model.predict, is_leaf=_ends)
    if name is None:
        return replace(model, predict=predict)
    digest = sha256(f"{model.digest}\nlogits {name}".encode()).hexdigest()
    return replace(model, predict=predict, digest=digest, record={**model.record, NAMED: name})


def as_in(record: Mapping[str, Any], model: LoadedModel, classes: int) -> LoadedModel:
    """Choose the output that a result was computed from, by the record of its model.

    Parameters
    ----------
    record : Mapping[str, Any]
        Record of the model in a result.
    model : LoadedModel
        The model.
    classes : int
        Number of classes of the data.

    Returns
    -------
    LoadedModel
        The model with these logits.
    """
    name = record.get(NAMED)
    return model if model.record.get(NAMED) == name and name else expecting(model, classes, name)


def logits_type(model: Model, shape: tuple[int, ...]) -> tuple[Any, frozenset[str]]:
    """Return the type of the model's output on two images, as `jax.eval_shape` gives it, before the cast to float32.

    Parameters
    ----------
    model : Model
        Images `[B, H, W, C]` to logits `[B, K]`.
    shape : tuple[int, ...]
        Shape of one image, (H, W, C).

    Returns
    -------
    Any
        An object with `shape` and `dtype`, if the model returns an array.
    frozenset of str
        Names of the types of its logits.
    """
    as_is = jax.tree.map(
        lambda node: replace(node, single=False) if isinstance(node, Logits) else node, model, is_leaf=_ends
    )
    out = jax.eval_shape(as_is, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    outside = (kind for network in _networks(model) for kind in getattr(network, "given", ()))
    return out, frozenset([str(getattr(out, "dtype", "")), *outside])


def wanted_of(model: Model) -> Wanted:
    """Return the criterion by which a model's logits are chosen.

    Parameters
    ----------
    model : Model
        A model made by `as_model`.

    Returns
    -------
    Wanted
        Name or width of the output.
    """
    return next(_networks(model)).wanted


def _ends(node: Any) -> bool:
    return isinstance(node, Network)


def _networks(model: Any) -> Iterator[Network]:
    return (node for node in jax.tree.leaves(model, is_leaf=_ends) if isinstance(node, Network))


def margins(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the best wrong logit minus the right one.

    Parameters
    ----------
    logits : np.ndarray
        float32 `[m, K]`.
    y : np.ndarray
        Labels, int32 `[m]`.

    Returns
    -------
    np.ndarray
        `[m]`, positive where misclassified.
    """
    rows = np.arange(len(y))
    wrong = logits.copy()
    wrong[rows, y] = -np.inf
    gap: np.ndarray = wrong.max(1) - logits[rows, y]
    return gap
