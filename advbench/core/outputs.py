"""The logits among a network's outputs, as float32: the one place where they are chosen and cast.

Networks return one array, or a tuple or dictionary of several; in float32, or in half precision. Attacks, the judge and
tests see float32 logits only. Their former type is returned by `logits_type`, since ties and rounding hide small
margins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
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
    """Criterion for the logits among several outputs.

    Parameters
    ----------
    name : str, optional
        Name of the output: a key, or a position in a tuple.
    classes : int, optional
        Number of classes of the data: the width of the output.
    """

    name: str | None = None
    classes: int | None = None


ANY: Final = Wanted()


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


def picked(outputs: Any, wanted: Wanted) -> Any:
    """Pick the logits among a network's outputs: an array, or several in tuples, lists, mappings and dataclasses.

    Axes of length 1 that fully convolutional networks leave, `[B, K, 1, 1]`, are dropped. If the data has two classes,
    a network's single logit z, `[B, 1]` or `[B]`, becomes `[0, z]`: the sigmoid of z is the probability of class 1.

    Parameters
    ----------
    outputs : Any
        Output of the network.
    wanted : Wanted
        Criterion for the logits.

    Returns
    -------
    Any
        Array `[B, K]`.

    Raises
    ------
    UsageError
        When no output is meant, or several could be.
    """
    found = dict(_named(outputs))
    if "" in found:
        if wanted.name is not None:
            raise UsageError(f"the model has one output, without a name: leave out --logits {wanted.name}")
        return _rows(found[""], wanted)
    return _rows(found[chosen({name: _form(array) for name, array in found.items()}, wanted)], wanted)


def row_shape(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the shape of an output without the axes of length 1 behind the batch: `[B, K]` of `[B, K, 1, 1]`.

    Parameters
    ----------
    shape : tuple[Any, ...]
        Integers or symbolic dimensions.

    Returns
    -------
    tuple[Any, ...]
        The same shape if it has at most two axes, or more than one behind the batch that is longer than 1.
    """
    long = [side for side in shape[1:] if not (isinstance(side, int) and side == 1)]
    return shape if len(shape) < 3 or len(long) > 1 else (shape[0], *(long or [1]))


def chosen(forms: Mapping[str, tuple[bool, tuple[int | None, ...]]], wanted: Wanted, ask: str = ASK) -> str:
    """Return the name of the output that holds the logits.

    The one that is named; else among the outputs `[B, K]` of floats, K at least 2, those with as many columns as the
    data has classes, if any; of these the one called "logits", or else the only one. Outputs `[B, K, 1, 1]` come after
    those `[B, K]`. If the data has two classes, one logit, `[B, 1]`, comes before an output of another width.

    Parameters
    ----------
    forms : Mapping[str, tuple[bool, tuple[int or None, ...]]]
        By name, whether an output holds floats, and its shape.
    wanted : Wanted
        Criterion for the logits.
    ask : str, default ASK
        Advice at the end of the error.

    Returns
    -------
    str
        Name of an output.

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
    likely = _likely({name: shape for name, (floats, shape) in forms.items() if floats}, wanted.classes)
    called = [name for name in likely if name.rpartition(".")[2].lower() == NAMED]
    if len(best := called or likely) == 1:
        return best[0]
    if len(forms) == 1:
        return next(iter(forms))
    raise UsageError(f"the model has several outputs ({told}): {ask}")


def _likely(shapes: Mapping[str, tuple[int | None, ...]], classes: int | None) -> list[str]:
    """List the outputs of floats that may hold logits: the first kind that has any."""
    plain = {name: shape[1] for name, shape in shapes.items() if len(shape) == 2}
    bare = {name: form[1] for name, shape in shapes.items() if len(form := row_shape(shape)) == 2}
    kinds: list[list[str]] = []
    if classes is not None:
        kinds += [[name for name, width in plain.items() if width == classes]]
        kinds += [[name for name, width in bare.items() if width in ((1, 2) if classes == 2 else (classes,))]]
    kinds += [[name for name, width in some.items() if width is None or width > 1] for some in (plain, bare)]
    return next(filter(None, kinds), [])


def _rows(array: Any, wanted: Wanted) -> Any:
    """Return one output as rows of logits, where possible."""
    if not hasattr(array, "shape") or "float" not in str(getattr(array, "dtype", "")):
        return array
    shape = row_shape(tuple(array.shape))
    if wanted.classes == 2 and (len(shape) == 1 or shape[1:] == (1,)):
        column = array.reshape((shape[0], 1))
        library = _library(column)
        return library.concatenate((library.zeros_like(column), column), 1)
    return array.reshape(shape) if shape != tuple(array.shape) else array


def _library(array: Any) -> Any:
    """Return the library that an array belongs to."""
    if "torch" in sys.modules and isinstance(array, sys.modules["torch"].Tensor):
        return sys.modules["torch"]
    return np if isinstance(array, np.ndarray) else jnp


def _named(outputs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every array with its path through tuples and mappings, like `head.0`; a lone one has the name ""."""
    if is_dataclass(outputs) and not hasattr(outputs, "shape"):
        outputs = {each.name: getattr(outputs, each.name) for each in fields(outputs)}
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
