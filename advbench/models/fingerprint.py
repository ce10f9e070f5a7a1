"""A digest of a model that is the user's code, so that a changed model is never taken for the same.

It covers the file of the factory and every array and number that can be reached from what the factory returned and from
the user's modules: in pytrees, attributes, closures and globals. Libraries are not covered.
"""

import functools
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from advbench.core.external import External
from advbench.models.adapt import is_keras, is_torch

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_INSTALLED = {"site-packages", "dist-packages"}  # of the user, the system, or another environment too


def fingerprint(module: ModuleType, factory: str, made: Any) -> str:
    """Compute the digest of what `module.factory()` made.

    Parameters
    ----------
    module : module
        Module of the factory.
    factory : str
        Name of the factory.
    made : Any
        Returned by the factory.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(factory.encode())
    if source := inspect.getsourcefile(module):
        digest.update(Path(source).read_bytes())
    for value in _values([made, module]):
        digest.update(value)
    return digest.hexdigest()


def digest_of(made: Any) -> str:
    """Compute the digest of a model in memory: every array and number within reach, and the code of its functions.

    Parameters
    ----------
    made : Any
        The model.

    Returns
    -------
    str
        64 hexadecimal digits; the same in another process for the same model.
    """
    digest = hashlib.sha256(b"in memory")
    things, opened = [made], {}  # what was opened is kept: ids are unique among the living
    while things:
        thing = things.pop()
        if thing is None or isinstance(thing, int | float | complex | str | bytes):
            digest.update(repr(thing).encode())
        elif isinstance(thing, jax.Array | np.ndarray | np.generic) or _is_tensor(thing):
            digest.update(_bytes(thing))
        elif id(thing) not in opened:
            opened[id(thing)] = thing
            digest.update(b"".join(_program(thing)))
            things += _parts(thing)
    return digest.hexdigest()


def _bytes(leaf: Any) -> bytes:
    """Return the bytes of an array or tensor, with its type and shape."""
    raw = _tensor_bytes(leaf) if _is_tensor(leaf) else _array(leaf).tobytes()
    return f"{leaf.dtype}{tuple(leaf.shape)}".encode() + raw


def _parts(thing: Any) -> list[Any]:
    """Return the parts of an object in memory."""
    if isinstance(thing, Mapping):
        return [part for pair in sorted(thing.items(), key=lambda pair: repr(pair[0])) for part in pair]
    if isinstance(thing, ModuleType | type):
        return []
    if isinstance(thing, FunctionType):
        return [*_enclosed(thing), *(_mentioned(thing) if _is_users(thing) else ())]
    return list(thing) if isinstance(thing, list | tuple) else _contents(thing)


def _contents(thing: Any) -> list[Any]:
    """Return the parts of an object that is neither a container nor a function."""
    found = _held(thing)
    if isinstance(thing, MethodType):
        found = [thing.__self__, thing.__func__]
    elif isinstance(thing, nnx.Module):
        nested = [part for _, part in sorted(vars(thing).items()) if not isinstance(part, nnx.Variable)]
        found = [*jax.tree.leaves(nnx.state(thing, nnx.Not(nnx.RngState))), *nested]
    elif isinstance(thing, External):
        found = [thing.forward, thing.vjp]
    elif _is_linen(thing):
        own = [getattr(thing, each.name) for each in fields(thing) if each.name not in ("parent", "name")]
        found = [*own, thing.variables if thing.scope is not None else None]
    elif inner := getattr(thing, "__wrapped__", None):
        found = [inner]
    elif not jax.tree_util.all_leaves([thing]) and not isinstance(thing, functools.partial):
        found = list(vars(thing).values()) if hasattr(thing, "__dict__") else jax.tree.leaves(thing)
    return found


def _is_linen(thing: Any) -> bool:
    return "flax.linen" in sys.modules and isinstance(thing, sys.modules["flax.linen"].Module)


def _mentioned(function: FunctionType) -> list[Any]:
    """Defaults of a function, and the globals that its code names."""
    known, names = function.__globals__, _names(function.__code__)
    return [*(function.__defaults__ or ()), *(known[name] for name in names if name in known)]


def _names(code: CodeType) -> list[str]:
    inner = [name for part in code.co_consts if isinstance(part, CodeType) for name in _names(part)]
    return [*code.co_names, *inner]


def _program(thing: Any) -> Iterator[bytes]:
    """Yield the class of an object, and the compiled code of a function, or of all functions of a user's class."""
    kind = thing if isinstance(thing, FunctionType | type) else type(thing)
    yield kind.__qualname__.encode()
    functions = [kind] if isinstance(kind, FunctionType) else vars(kind).values() if _is_users(kind) else ()
    for function in functions:
        if isinstance(function, FunctionType):
            yield function.__name__.encode()
            yield from _instructions(function.__code__)


def _instructions(code: CodeType) -> Iterator[bytes]:
    yield code.co_code + repr(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
        else:
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant).encode()


def _values(things: list[Any]) -> Iterator[bytes]:
    """Yield the bytes of every array and number within reach. Visited objects are kept: ids stay unique."""
    opened: dict[int, Any] = {}
    while things:
        thing = things.pop()
        if isinstance(thing, nnx.Module):
            thing = nnx.state(thing, nnx.Not(nnx.RngState))
        if isinstance(thing, External):
            thing = [thing.forward, thing.vjp]
        try:
            leaves = jax.tree.leaves(thing)
        except (TypeError, ValueError):  # A dictionary whose keys have no order holds no weights of a JAX model.
            continue
        for leaf in leaves:
            if isinstance(leaf, jax.Array | np.ndarray | np.generic) or _is_tensor(leaf):
                yield _bytes(leaf)
            elif isinstance(leaf, int | float | complex | str | bytes):
                yield repr(leaf).encode()
            elif id(leaf) not in opened:
                opened[id(leaf)] = leaf
                things += _held(leaf)


def _array(array: Any) -> np.ndarray:
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array)


def _is_tensor(thing: Any) -> bool:
    return "torch" in sys.modules and isinstance(thing, sys.modules["torch"].Tensor)


def _tensor_bytes(tensor: Any) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    raw: bytes = flat.view(sys.modules["torch"].uint8).numpy().tobytes()
    return raw


def _held(thing: Any) -> list[Any]:
    """Return the objects that a user's object refers to; those of a model too, whoever wrote its class."""
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, MethodType):
        return [thing.__self__]
    if is_torch(thing) or is_keras(thing):
        return list(vars(thing).values()) if is_torch(thing) else [each.value for each in thing.variables]
    return _users(thing) if _is_users(thing) and not isinstance(thing, type) else []


def _users(thing: Any) -> list[Any]:
    if isinstance(thing, ModuleType):
        return [value for name, value in vars(thing).items() if not name.startswith("__")]
    if isinstance(thing, FunctionType):
        return [*_enclosed(thing), sys.modules[thing.__module__]]
    return list(vars(thing).values()) if hasattr(thing, "__dict__") else []


def _enclosed(function: FunctionType) -> list[Any]:
    try:
        return list(inspect.getclosurevars(function).nonlocals.values())
    except ValueError:  # a variable that has no value yet
        return []


def _is_users(thing: Any) -> bool:
    home = thing if isinstance(thing, ModuleType) else sys.modules.get(getattr(thing, "__module__", None) or "")
    file = getattr(home, "__file__", None)
    if file is None and home is not None and home.__name__ == "__main__":  # typed at a prompt
        return True
    return file is not None and not file.startswith(_LIBRARIES) and not _INSTALLED & set(Path(file).parts)
