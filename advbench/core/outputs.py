"""The logits among a network's outputs, as float32: the one place where they are chosen and cast.

Networks give one array, or a tuple or dictionary of several; in float32, or in half precision. Attacks, judge and laws
meet float32 logits only. What type they had is asked of `logits_type`, since ties and rounding hide small margins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core.errors import UsageError
from advbench.core.model import Model
from advbench.core.randomised import Randomised

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

NAMED: Final = "logits"
ASK: Final = "name the one that holds the logits with --logits"


@dataclass(frozen=True)
class Wanted:
    """What tells the logits from other outputs: their name, or their width, which is the data's number of classes."""

    name: str | None = None
    classes: int | None = None


ANY: Final = Wanted()


@runtime_checkable
class Network(Protocol):
    """Where a model's logits come from: the innermost part that is a `Model` by itself."""

    wanted: Wanted

    def expecting(self, wanted: Wanted) -> Self:
        """The same network, with the logits chosen among its outputs by this."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Logits:
    """A network that JAX computes, as a `Model`.

    Parameters
    ----------
    network : callable pytree
        Images `[B, H, W, C]`, and whatever else it takes, to logits `[B, K]` or to several outputs.
    wanted : Wanted
    single : bool
        Whether logits become float32.
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
        """As `Network.expecting`."""
        return self if wanted == self.wanted else replace(self, wanted=wanted)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RejectingLogits(Logits):
    """The same of a network that may reject images; see `advbench.wrappers.facing.Rejecting`."""

    def against(self, y: Array) -> Model:
        """As `Rejecting.against`."""
        network: Any = self.network
        return Logits(network.against(y), self.wanted, self.single)


def as_model(network: Any) -> Model:
    """A network as a `Model` that gives float32 logits; what is one already stays as it is."""
    if next(_networks(network), None) is not None:
        return network  # type: ignore[no-any-return]
    if isinstance(network, Randomised):
        return replace(network, apply=Logits(network.apply))
    if jax.tree_util.all_leaves([network]):  # a plain function is no JAX type, and could not go into a program
        network = jax.tree_util.Partial(network)
    return (RejectingLogits if hasattr(network, "against") else Logits)(network)


def expecting(model: LoadedModel, classes: int, name: str | None = None) -> LoadedModel:
    """Tell a model of what data its logits are, so that of several outputs the right one is taken.

    Parameters
    ----------
    model : LoadedModel
    classes : int
        Of the data.
    name : str, optional
        The output that holds the logits: a dictionary's key, or a place in a tuple.

    Returns
    -------
    LoadedModel
        With another digest where a name was given, since it then is another classifier.
    """

    def told(network: Network) -> Network:
        return network.expecting(Wanted(name or network.wanted.name, classes))

    predict = jax.tree.map(lambda node: told(node) if isinstance(node, Network) else node, model.predict, is_leaf=_ends)
    if name is None:
        return replace(model, predict=predict)
    digest = sha256(f"{model.digest}\nlogits {name}".encode()).hexdigest()
    return replace(model, predict=predict, digest=digest, record={**model.record, NAMED: name})


def as_in(record: Mapping[str, Any], model: LoadedModel, classes: int) -> LoadedModel:
    """Choose the output that a result was found with, by the record of its model."""
    name = record.get(NAMED)
    return model if model.record.get(NAMED) == name and name else expecting(model, classes, name)


def logits_type(model: Model, shape: tuple[int, ...]) -> tuple[Any, frozenset[str]]:
    """What the model gives on two images (H, W, C), as `jax.eval_shape` tells it, before logits become float32.

    Returns
    -------
    Any
        An object with `shape` and `dtype`, if the model gives an array.
    frozenset of str
        Names of the types that its logits have.
    """
    as_is = jax.tree.map(
        lambda node: replace(node, single=False) if isinstance(node, Logits) else node, model, is_leaf=_ends
    )
    out = jax.eval_shape(as_is, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    outside = (kind for network in _networks(model) for kind in getattr(network, "given", ()))
    return out, frozenset([str(getattr(out, "dtype", "")), *outside])


def wanted_of(model: Model) -> Wanted:
    """What a model's logits are chosen by."""
    return next(_networks(model)).wanted


def picked(outputs: Any, wanted: Wanted) -> Any:
    """The logits among a network's outputs: an array, or several in tuples, lists and mappings."""
    found = dict(_named(outputs))
    if "" in found:
        if wanted.name is not None:
            raise UsageError(f"the model has one output, without a name: leave out --logits {wanted.name}")
        return found[""]
    return found[chosen({name: _form(array) for name, array in found.items()}, wanted)]


def chosen(forms: Mapping[str, tuple[bool, tuple[int | None, ...]]], wanted: Wanted, ask: str = ASK) -> str:
    """Name of the output that holds the logits.

    The one that is named; else among the outputs `[B, K]` of floats, K at least 2, those of as many columns as the data
    has classes, if there are any; of these the one called "logits", or else the only one.

    Parameters
    ----------
    forms : mapping
        Whether an output holds floats, and its shape, by name.
    wanted : Wanted
    ask : str
        What to do where that is not one.

    Raises
    ------
    UsageError
        When there is no output of that name, or none or several could be meant.
    """
    told = ", ".join(f"{name} {[*shape]}" for name, (_, shape) in list(forms.items())[:9]) or "none"
    if wanted.name is not None:
        if wanted.name not in forms:
            raise UsageError(f"the model has no output {wanted.name!r} (there are: {told})")
        return wanted.name
    wide = {name: s[1] for name, (floats, s) in forms.items() if floats and len(s) == 2 and (s[1] is None or s[1] > 1)}
    likely = [name for name, width in wide.items() if width == wanted.classes] or list(wide)
    called = [name for name in likely if name.rpartition(".")[2].lower() == NAMED]
    if len(best := called or likely) == 1:
        return best[0]
    if len(forms) == 1:
        return next(iter(forms))
    raise UsageError(f"the model has several outputs ({told}): {ask}")


def _named(outputs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every array with its way through tuples and mappings, like `head.0`; a lone one has the name ""."""
    if isinstance(outputs, Mapping):
        parts: Any = outputs.items()
    elif isinstance(outputs, tuple | list):
        parts = zip(getattr(outputs, "_fields", range(len(outputs))), outputs, strict=True)
    else:
        if hasattr(outputs, "shape") or not name:
            yield name, outputs
        return
    for key, part in parts:
        yield from _named(part, f"{name}.{key}" if name else str(key))


def _form(array: Any) -> tuple[bool, tuple[int | None, ...]]:
    return "float" in str(array.dtype), tuple(array.shape)


def _ends(node: Any) -> bool:
    return isinstance(node, Network)


def _networks(model: Any) -> Iterator[Network]:
    return (node for node in jax.tree.leaves(model, is_leaf=_ends) if isinstance(node, Network))


def margins(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Best wrong logit minus the right one, `[m]`."""
    rows = np.arange(len(y))
    wrong = logits.copy()
    wrong[rows, y] = -np.inf
    gap: np.ndarray = wrong.max(1) - logits[rows, y]
    return gap
