"""Placement of arrays: batches are spread over all devices of all processes, everything else is copied to each device.

Programs do not depend on it: XLA splits them by the placement of their arguments, and sums across devices where a
result needs the whole batch. On a single device nothing here has an effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")


@cache
def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), ("batch",))


def split(tree: T) -> T:
    """Spread leading axes over the devices, where the length is a multiple of their number.

    Parameters
    ----------
    tree : T
        Pytree of arrays; in several processes all must hold the same values.

    Returns
    -------
    T
        The same values, spread over the devices.
    """
    count = jax.device_count()

    def spec(leaf: Any) -> PartitionSpec:
        return PartitionSpec("batch") if np.ndim(leaf) and np.shape(leaf)[0] % count == 0 else PartitionSpec()

    return tree if count == 1 else jax.tree.map(lambda leaf: _put(leaf, spec(leaf)), tree)


def replicated(tree: T) -> T:
    """Put the same arrays on every device.

    Parameters
    ----------
    tree : T
        Pytree of arrays; in several processes all must hold the same values.

    Returns
    -------
    T
        The same values, on every device.
    """
    return tree if jax.device_count() == 1 else jax.tree.map(lambda leaf: _put(leaf, PartitionSpec()), tree)


def _put(leaf: Any, spec: PartitionSpec) -> Any:
    sharding, several = NamedSharding(_mesh(), spec), jax.process_count() > 1
    if several and isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), spec), impl=jax.random.key_impl(leaf))
    if not several or (isinstance(leaf, jax.Array) and not leaf.is_fully_addressable):
        return jax.device_put(leaf, sharding)
    host = np.asarray(leaf)  # each process hands over its part: nothing goes over the network
    return jax.make_array_from_callback(host.shape, sharding, lambda where: host[where])


def leads() -> bool:
    """Tell whether this process writes files and messages.

    Returns
    -------
    bool
        True for process 0.
    """
    return jax.process_index() == 0


def agreed(number: int | None) -> int | None:
    """Return the largest number of any process, None counting least; every process must call at the same step.

    Parameters
    ----------
    number : int or None
        Number of this process.

    Returns
    -------
    int or None
        The same in all processes.
    """
    if jax.process_count() == 1:
        return number
    from jax.experimental.multihost_utils import process_allgather

    found = int(np.max(process_allgather(np.int32(-1 if number is None else number))))
    return None if found < 0 else found


@contextmanager
def leader_first(name: str) -> Iterator[None]:
    """Let process 0 through this block before the others enter it.

    Parameters
    ----------
    name : str
        Name of the block, unique in the program.

    Returns
    -------
    Iterator[None]
        Context manager.
    """
    if jax.process_count() == 1:
        yield
        return
    from jax.experimental.multihost_utils import sync_global_devices

    if not leads():
        sync_global_devices(name)
    yield
    if leads():
        sync_global_devices(name)
