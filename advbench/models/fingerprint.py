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

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


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
        try:
            leaves = jax.tree.leaves(thing)
        except (TypeError, ValueError):  # A dictionary whose keys have no order holds no weights of a JAX model.
            continue
        for leaf in leaves:
            if isinstance(leaf, jax.Array | np.ndarray | np.generic):
                yield f"{leaf.dtype}{leaf.shape}".encode() + _array(leaf).tobytes()
            elif isinstance(leaf, int | float | complex | str | bytes):
                yield repr(leaf).encode()
            elif id(leaf) not in opened:
                opened[id(leaf)] = leaf
                things += _held(leaf)


def _array(array: Any) -> np.ndarray:
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array)


def _held(thing: Any) -> list[Any]:
    """What an object of the user's refers to."""
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, MethodType):
        return [thing.__self__]
    if isinstance(thing, type) or not _is_users(thing):
        return []
    if isinstance(thing, ModuleType):
        return [value for name, value in vars(thing).items() if not name.startswith("__")]
    if isinstance(thing, FunctionType):
        return [*inspect.getclosurevars(thing).nonlocals.values(), sys.modules[thing.__module__]]
    return list(vars(thing).values()) if hasattr(thing, "__dict__") else []


def _is_users(thing: Any) -> bool:
    home = thing if isinstance(thing, ModuleType) else sys.modules.get(getattr(thing, "__module__", None) or "")
    file = getattr(home, "__file__", None)
    return file is not None and not file.startswith(_LIBRARIES)
