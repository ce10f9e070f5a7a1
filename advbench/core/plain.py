"""A context in which models compute by operations that a jaxpr shows, instead of by kernels of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PLAIN: ContextVar[bool] = ContextVar("advbench_plain", default=False)


@contextmanager
def plainly() -> Iterator[None]:
    """Ask for `jax.lax` operations while a model is traced."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def wanted() -> bool:
    """Whether a model is traced to be read."""
    return _PLAIN.get()
