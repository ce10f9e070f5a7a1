"""One digest for a model that is somebody's code, so that a changed one is never taken for the same.

It covers the file of the factory and every array and number that can be reached from what the factory returned and from
the user's modules: in pytrees, attributes, closures and globals. Libraries are not looked into.
"""

import functools
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
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
    """Digest of what `module.factory()` made, as 64 hexadecimal digits."""
    digest = hashlib.sha256(factory.encode())
    if source := inspect.getsourcefile(module):
        digest.update(Path(source).read_bytes())
    for value in _values([made, module]):
        digest.update(value)
    return digest.hexdigest()


def _values(things: list[Any]) -> Iterator[bytes]:
    """Bytes of every array and number within reach; what was opened is kept: ids are unique among the living."""
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
            if isinstance(leaf, jax.Array | np.ndarray | np.generic):
                yield f"{leaf.dtype}{leaf.shape}".encode() + _array(leaf).tobytes()
            elif _is_tensor(leaf):
                yield f"{leaf.dtype}{tuple(leaf.shape)}".encode() + _tensor_bytes(leaf)
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
    """What an object of the user's refers to; a model too, whoever wrote its class."""
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
    return file is not None and not file.startswith(_LIBRARIES) and not _INSTALLED & set(Path(file).parts)
