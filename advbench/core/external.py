"""Models outside JAX: NumPy arrays in, NumPy arrays out, in another framework or behind a network.

To attacks, the judge and tests such a model is a pytree callable like any other, under `jit`, `vmap`, `grad` and loops.
The compiled program calls back to the host with bare NumPy arrays, and nothing of JAX runs inside. That makes it safe:
`jax.pure_callback` first puts its arguments on a device again, and on CPU that can wait for the very thread which runs
the callback (jax-ml/jax#24255, #25861).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from advbench.core.choice import ANY, Wanted
from advbench.core.errors import AdvbenchError, UsageError

Forward = Callable[[np.ndarray], np.ndarray]
Pull = Callable[[np.ndarray], np.ndarray]
Vjp = Callable[[np.ndarray], tuple[np.ndarray, Pull]]


class Untranslated(Exception):
    """Reason why a network stays outside JAX, in one line."""


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class External:
    """A classifier computed outside JAX; a `Model` without leaves.

    Parameters
    ----------
    forward : Forward
        Images `[B, H, W, C]` float32 in [0, 1], of any B, to logits `[B, K]`. Must be deterministic and must not call
        JAX. Its exceptions are re-raised by `raised`.
    vjp : Vjp, optional
        The same images to the logits and `pull`, which may be called several times: a cotangent `[B, K]` to the input
        gradient `[B, H, W, C]`. Without it the model answers queries only, and differentiating it is a UsageError.
    classes : int, optional
        Number of logits K; by default asked of `forward` on one black image of each new shape.
    wanted : Wanted, default ANY
        Criterion by which `forward` and `vjp` choose the logits, where the model has several outputs.
    choose : Callable[[Wanted], External], optional
        Returns the same model, with the logits chosen by another `Wanted`; without it there is no choice.
    translate : Callable[[tuple[int, ...]], Model], optional
        Translates the network to JAX for the shape of one image, as the model takes it; raises `Untranslated`.
    given : set[str], optional
        Names of the types that logits had, before the cast to float32.
    """

    forward: Forward
    vjp: Vjp | None = None
    classes: int | None = None
    wanted: Wanted = ANY
    choose: Callable[[Wanted], External] | None = None
    translate: Callable[[tuple[int, ...]], Any] | None = None
    given: set[str] = field(default_factory=set, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _widths: dict[tuple[int, ...], int] = field(default_factory=dict, repr=False)
    _last: dict[str, Any] = field(
        default_factory=dict, repr=False
    )  # images and pull of the last `vjp`, for a gradient at the same images

    def __call__(self, x: Array, /) -> Array:
        """Logits `[B, K]` float32 of images `[B, H, W, C]`."""
        logits: Array = _logits(self, jnp.asarray(x, jnp.float32))
        return logits

    def expecting(self, wanted: Wanted) -> External:
        """Choose the logits by another criterion; see `outputs.Network.expecting`.

        Parameters
        ----------
        wanted : Wanted
            Name or width of the output.

        Returns
        -------
        External
            The same model, with these logits.
        """
        return self if self.choose is None or wanted == self.wanted else self.choose(wanted)

    def width(self, shape: tuple[int, ...]) -> int:
        """Return the number of logits K for images of this shape.

        Parameters
        ----------
        shape : tuple[int, ...]
            Shape of one image, (H, W, C).

        Returns
        -------
        int
            At least 1.
        """
        if self.classes is None and shape not in self._widths:
            self._widths[shape] = self._query(np.zeros((1, *shape), np.float32)).shape[1]
        return self.classes or self._widths[shape]

    def differentiable(self) -> Vjp:
        """Return `vjp`, or refuse if there is none.

        Returns
        -------
        Vjp
            Function of images.

        Raises
        ------
        UsageError
            When the model has no gradient.
        """
        if self.vjp is None:
            raise UsageError("this model answers queries and has no gradient: use attacks by scores or decisions")
        return self.vjp

    def _query(self, x: np.ndarray) -> np.ndarray:
        with self._lock:
            return self._rows(self.forward(x), len(x))

    def _linearise(self, x: np.ndarray) -> np.ndarray:
        """Return logits, keeping what a gradient at the same images will need."""
        with self._lock:
            return self._rows(self._climb(x), len(x))

    def _rows(self, logits: Any, n: int) -> np.ndarray:
        rows = np.asarray(logits)
        if rows.ndim != 2 or len(rows) != n or rows.dtype.kind not in "fiu":
            got = f"{rows.dtype} {[*rows.shape]}"
            raise UsageError(f"a model should give logits [{n}, classes] for {n} images, not {got}")
        self.given.add(rows.dtype.name)
        return rows.astype(np.float32, copy=False)

    def _gradient(self, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        with self._lock:
            if not np.array_equal(x, self._last.get("x", ())):
                self._climb(x)
            return np.asarray(self._last["pull"](cotangent), np.float32)

    def _climb(self, x: np.ndarray) -> np.ndarray:
        self._last.clear()  # before the call, since a framework may hold much memory for it
        logits, self._last["pull"] = self.differentiable()(x)
        self._last["x"] = x
        return logits


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _logits(model: External, x: Array) -> Array:
    return _call(model._query, (len(x), model.width(x.shape[1:])), x)


def _remember(model: External, x: Array) -> tuple[Array, Array]:
    model.differentiable()
    return _call(model._linearise, (len(x), model.width(x.shape[1:])), x), x


def _pull(model: External, x: Array, cotangent: Array) -> tuple[Array]:
    return (_call(model._gradient, x.shape, x, cotangent),)


_logits.defvjp(_remember, _pull)


# The primitive: a host function of arrays that share their leading axis with the result.
HOST = Primitive("external")


def _call(function: Callable[..., np.ndarray], shape: tuple[int, ...], *arrays: Array) -> Array:
    out: Array = HOST.bind(*arrays, function=function, shape=shape)
    return out


def _own(array: Any) -> np.ndarray:
    """Copy an array, since the memory that XLA lends is invalid after the call."""
    return np.array(array, np.float32)


def _now(*arrays: Array, function: Callable[..., np.ndarray], shape: tuple[int, ...]) -> Array:
    # Wait for the arrays before taking the lock: the code that computes them may need it.
    return jnp.asarray(function(*map(_own, arrays)))


def _kind(*arrays: Any, function: Callable[..., np.ndarray], shape: tuple[int, ...]) -> Any:
    return jax.core.ShapedArray(shape, jnp.float32)


def _flattened(arrays: Any, axes: Any, *, function: Callable[..., np.ndarray], shape: tuple[int, ...]) -> Any:
    """Batch under `vmap`: one call sees all images, each row by itself."""
    size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)
    whole = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arrays, axes, strict=True)
    ]
    rows = [a.reshape(-1, *a.shape[2:]) for a in whole]
    out = _call(function, (size * shape[0], *shape[1:]), *rows)
    return out.reshape(size, *shape), 0


def _lowered(context: Any, *operands: Any, function: Callable[..., np.ndarray], shape: tuple[int, ...]) -> Any:
    def on_host(*arrays: Any) -> tuple[np.ndarray]:
        try:
            return (function(*map(_own, arrays)),)
        except BaseException as error:
            _failures.append(error)
            raise

    results, _, _ = mlir.emit_python_callback(
        context,
        on_host,
        None,
        list(operands),
        context.avals_in,
        context.avals_out,
        has_side_effect=False,
        returns_token=False,
    )
    return results


HOST.def_impl(_now)
HOST.def_abstract_eval(_kind)
batching.primitive_batchers[HOST] = _flattened
mlir.register_lowering(HOST, _lowered, cacheable=False)

_failures: list[BaseException] = []  # what host functions raised inside compiled programs


@contextmanager
def raised() -> Iterator[None]:
    """Re-raise what a model raised inside a compiled program as its own error instead of XLA's.

    Wrap the code that waits for the values, like `np.asarray`, not only the code that starts the program.

    Returns
    -------
    Iterator[None]
        Context manager.

    Raises
    ------
    AdvbenchError
        The model's own error if it is one, else a UsageError that contains it.
    """
    _failures.clear()
    try:
        yield
    except Exception as error:  # a JaxRuntimeError, or a ValueError where the program was waited for at once
        cause = _failures[0] if _failures else None
        if cause is None or type(cause).__name__ not in str(error):
            raise
        if isinstance(cause, Exception) and not isinstance(cause, AdvbenchError):
            message = f"the model failed: {type(cause).__name__}: {' '.join(str(cause).split())}"
            raise UsageError(message) from error
        raise cause from None
