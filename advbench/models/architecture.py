"""Networks to train, by name or by the user's code, for images of any shape and any number of classes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import BaseModel, ConfigDict, Field

from advbench.core.ambient import own_settings
from advbench.core.errors import UsageError
from advbench.core.names import found, plain
from advbench.core.usercode import folder_of, function_of, importable, one_line, split_code
from advbench.nn import MODELS
from advbench.nn.frozen import evaluating

Shape = tuple[int, int, int]
FORM = "write it as a class or function (shape, classes, *, rngs)"
SUBJECTS = 2  # images that a new network is traced on


class Code(BaseModel):
    """The user's code that makes a network, as a manifest names it.

    `where` is `file.py` or `package.module` as typed, or "" for code that is in no file; `sha256` is the digest of the
    file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: str
    factory: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    def __str__(self) -> str:
        return f"{self.where}:{self.factory}"

    @property
    def digest(self) -> str:
        """One sha256 for the network that this code makes; the folder of the file does not count."""
        return hashlib.sha256(f"{self.factory}\n{self.sha256}".encode()).hexdigest()


@dataclass(frozen=True)
class Architecture:
    """A network whose weights are not drawn yet.

    Attributes
    ----------
    name : str
        A name in `MODELS`, or `file.py:factory`.
    make : callable
        Makes the network; takes those of shape, classes and rngs that its signature names.
    code : Code or None
        The user's code, for a network that is not in `MODELS`.
    """

    name: str
    make: Callable[..., Any]
    code: Code | None = None

    @own_settings()
    def create(self, shape: Shape, classes: int, seed: int) -> nnx.Module:
        """Make the network, in training mode.

        Parameters
        ----------
        shape : tuple of int
            Image shape (H, W, C).
        classes : int
            Number of logits K.
        seed : int
            Fixes the weights and the dropout masks.

        Returns
        -------
        nnx.Module
            Maps images `[B, H, W, C]` to logits `[B, K]`.

        Raises
        ------
        UsageError
            When the user's code fails, or makes something that can't be trained.
        """
        if self.code is None:
            return MODELS[self.name](shape, classes, rngs=nnx.Rngs(seed))
        with importable(folder_of(self.code.where)), one_line(self.name):
            made = _made(self.make, self.name, shape, classes, nnx.Rngs(seed))
        if not isinstance(made, nnx.Module) or not callable(made):
            raise UsageError(
                f"{self.name} made {type(made).__name__}: it should make a Flax NNX module to call on images"
            )
        return made

    @own_settings()
    def abstract(self, shape: Shape, classes: int) -> nnx.Module:
        """Trace the network without computing values, and check that it suits these images.

        Parameters
        ----------
        shape : tuple of int
            Image shape (H, W, C).
        classes : int
            Number of logits K.

        Returns
        -------
        nnx.Module
            With shapes and types in place of arrays.

        Raises
        ------
        UsageError
            When it can't be made, or can't be trained.
        """
        module: nnx.Module = nnx.eval_shape(lambda: self.create(shape, classes, 0))
        if self.code:
            examine(module, self.name, shape, classes)
        return module


def find(spec: str | Callable[..., Any] | Architecture) -> Architecture:
    """Find the network to train that a text or object names. A file of code is run, but no network is made.

    Parameters
    ----------
    spec : str or callable
        A name in `MODELS`; `file.py:factory` or `package.module:factory`; or the class or function itself.

    Returns
    -------
    Architecture
        The network, without weights.

    Raises
    ------
    UsageError
        For an unknown name, with the nearest one, or for code that fails.
    """
    if isinstance(spec, Architecture):
        return spec
    if callable(spec):
        return Architecture(name := _name(spec), spec, _code_of(spec, name))
    if (halves := split_code(spec)) and not any(plain(spec) == plain(name) for name in MODELS):
        where, factory = halves
        with function_of(where, factory) as (module, make):
            return Architecture(spec, make, Code(where=where, factory=factory, sha256=_source_digest(module)))
    try:
        name = found("network", spec, MODELS)
    except UsageError as error:
        raise UsageError(f"{error}; or file.py:factory") from None
    return Architecture(name, MODELS[name])


def examine(module: nnx.Module, name: str, shape: Shape, classes: int) -> None:
    """Refuse a network that can't be trained; it is only traced, nothing is computed.

    Parameters
    ----------
    module : nnx.Module
        Made by the user's code, with or without values.
    name : str
        Name of that code, at the begin of each message.
    shape, classes
        Image shape (H, W, C), and number of logits.

    Raises
    ------
    UsageError
        In one line, when it has no parameters, does not take these images, gives anything but logits `[B, K]`,
        or changes itself in evaluation mode.
    """
    if not jax.tree.leaves(nnx.state(module, nnx.Param)):
        raise UsageError(f"{name} has no nnx.Param: there is nothing to train")
    images = jax.ShapeDtypeStruct((SUBJECTS, *shape), jnp.float32)
    graph, state = nnx.split(module)
    with one_line(f"{name}, in training mode,"):
        logits = jax.eval_shape(
            lambda state, images: _called(nnx.merge(graph, state, copy=True), images), state, images
        )
    _require_logits(logits, name, classes)
    graph, state = nnx.split(evaluating(module))

    def applied(state: Any, images: jax.Array) -> Any:
        model: Any = nnx.merge(graph, state, copy=True)
        return model(images), nnx.state(model)

    with one_line(f"{name}, in evaluation mode,"):
        closed, (logits, after) = jax.make_jaxpr(applied, return_shape=True)(state, images)
    _require_logits(logits, name, classes)
    paths = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(state)]
    if len(jax.tree.leaves(after)) != len(paths):
        raise UsageError(f"{name} adds variables when it is called: return logits alone, and do not sow")
    ends = zip(paths, closed.jaxpr.invars, closed.jaxpr.outvars[-len(paths) :], strict=False)
    if moved := next((path for path, before, now in ends if before is not now), None):
        raise UsageError(
            f"{name} changes {moved} in evaluation mode too: let its layers heed `deterministic` (as nnx.Dropout does) "
            "and `use_running_average` (as nnx.BatchNorm does)"
        )


def _called(model: Any, images: jax.Array) -> Any:
    return model(images)


def _require_logits(logits: Any, name: str, classes: int) -> None:
    if not isinstance(logits, jax.ShapeDtypeStruct):
        raise UsageError(f"{name} gives {type(logits).__name__}, not one array of logits")
    if logits.shape != (SUBJECTS, classes) or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise UsageError(
            f"{name} gives {logits.dtype}{list(logits.shape)} for {SUBJECTS} images, where logits "
            f"float32{[SUBJECTS, classes]} are needed: one for each of {classes} classes"
        )


def _made(make: Callable[..., Any], name: str, shape: Shape, classes: int, rngs: nnx.Rngs) -> Any:
    """Call a factory with the arguments that it takes."""
    is_class = isinstance(make, type)
    signature = inspect.signature(make.__init__ if is_class else make)
    for given in (((shape, classes), {"rngs": rngs}), ((shape, classes), {}), ((), {"rngs": rngs}), ((), {})):
        positional, named = given
        try:
            signature.bind(*([None] if is_class else []), *positional, **named)
        except TypeError:
            continue
        return make(*positional, **named)
    raise UsageError(f"{name} takes {signature}: {FORM}")


def _name(make: Callable[..., Any]) -> str:
    return str(getattr(make, "__qualname__", type(make).__qualname__))


def _code_of(make: Callable[..., Any], name: str) -> Code:
    """Return file and digest of a class or function at the top level of a file; else a digest of its source."""
    try:
        file = inspect.getsourcefile(make)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file() or not name.isidentifier():
        return Code(where="", factory=name, sha256=hashlib.sha256(_text(make).encode()).hexdigest())
    path = Path(file)
    where = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return Code(where=str(where), factory=name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _text(make: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(make)
    except (OSError, TypeError):
        return _name(make)


def _source_digest(module: ModuleType) -> str:
    source = inspect.getsourcefile(module)
    return hashlib.sha256(Path(source).read_bytes() if source else b"").hexdigest()
