"""A context in which models use operations that a jaxpr shows, instead of native kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PLAIN: ContextVar[bool] = ContextVar("advbench_plain", default=False)


@contextmanager
def reference_operations() -> Iterator[None]:
    """Use `jax.lax` operations while a model is traced.

    Returns
    -------
    Iterator[None]
        Context manager.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def is_reference() -> bool:
    """Tell whether a model is being traced to read its operations.

    Returns
    -------
    bool
        True within `reference_operations`.
    """
    return _PLAIN.get()
