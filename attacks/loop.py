"""The loop of iterative attacks: inside one compiled program, or stepped from the host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core.model import Model
from advbench.core.threat import Threat

STRIDE = 25  # steps a dispatch: enough to hide its cost, few enough for Ctrl-C to be noticed
EXTERNAL = "external"  # primitive of a model that lives outside JAX
EXPORTED = "call_exported"  # primitive of `jax.export`, whose operations are hidden
HIDING = (EXTERNAL, EXPORTED)
CONVOLUTION = "conv_general_dilated"
COMPACT_EVERY = 200  # steps between batch compactions

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class TimeUp(Exception):
    """The deadline passed between two dispatches; intermediate states are lost."""


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Within this block attacks stepped from the host raise `TimeUp` once `time.monotonic()` is past `deadline`.

    Parameters
    ----------
    deadline : float or None
        In seconds of `time.monotonic()`; None is no limit.

    Returns
    -------
    Iterator[None]
        Context manager.
    """
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


class Steps(Protocol):
    """An iterative attack: one step on a batch, and a mask of the images that need no more."""

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: Any) -> Any:
        """Take one step on all images.

        Parameters
        ----------
        model : Model
            Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
        threat : Threat
            Norm ball and pixel box to stay in.
        x : Array
            Clean images, float32 `[B, H, W, C]` in [0, 1].
        y : Any
            Reference of the loss, leading axis B: labels int32 `[B]`, a `TargetedLabels`, or clean logits.
        state : Any
            Pytree, every leaf with leading axis B.

        Returns
        -------
        Any
            The next state.
        """

    def done(self, state: Any) -> Array:
        """Mark images that further steps would not change.

        Parameters
        ----------
        state : Any
            Pytree, every leaf with leading axis B.

        Returns
        -------
        Array
            bool `[B]`.
        """


def iterate(attack: Steps, model: Model, threat: Threat, x: Array, y: Any, state: Any, steps: Array | int) -> Any:
    """Take `steps` steps, or fewer once every image is done; works eagerly and under a trace.

    A model whose query limit is reached says so by `spent`: then the state reached so far is returned.

    Parameters
    ----------
    attack : Steps
        Attack with `step` and `done`.
    model : Model
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    threat : Threat
        Norm ball and pixel box to stay in.
    x : Array
        Clean images, float32 `[B, H, W, C]` in [0, 1].
    y : Any
        Reference of the loss, leading axis B: labels int32 `[B]`, a `TargetedLabels`, or clean logits.
    state : Any
        Pytree, every leaf with leading axis B.
    steps : Array or int
        Largest number of steps, at least 0.

    Returns
    -------
    Any
        The last state.

    Raises
    ------
    TimeUp
        When the deadline of `until` passed.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((attack, model, threat, x, y, state))):
        return _many(attack, model, threat, x, y, state, steps)[0]
    advance, stride = (_many, STRIDE) if loops_on_device(model, x) else (_one, 1)
    left, deadline = int(steps), _deadline.get()
    while left > 0:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeUp
        try:
            reached, finished = advance(attack, model, threat, x, y, state, min(stride, left))
            over = bool(finished)
        except (jax.errors.JaxRuntimeError, ValueError):  # a host function's error arrives as either
            if not getattr(model, "spent", False):
                raise
            break
        state, left = reached, left - stride
        if over:
            break
    return state


def iterate_compacting(
    attack: Steps, model: Model, threat: Threat, x: Array, y: Any, state: Any, steps: Array | int
) -> Any:
    """Iterate for thousands of steps: finished images leave the batch each time it can be halved.

    Parameters, returns and errors are those of `iterate`; every leaf of `y` has leading axis B too.

    Parameters
    ----------
    attack : Steps
        Attack with `step` and `done`.
    model : Model
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    threat : Threat
        Norm ball and pixel box to stay in.
    x : Array
        Clean images, float32 `[B, H, W, C]` in [0, 1].
    y : Any
        Reference of the loss, leading axis B: labels int32 `[B]`, a `TargetedLabels`, or clean logits.
    state : Any
        Pytree, every leaf with leading axis B.
    steps : Array or int
        Largest number of steps, at least 0.

    Returns
    -------
    Any
        The last state, in the order of `x`.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((attack, model, threat, x, y, state))):
        return iterate(attack, model, threat, x, y, state, steps)
    size, whole, rows, left = len(x), state, np.arange(len(x)), int(steps)
    while left > 0:
        state = iterate(attack, model, threat, x, y, state, min(COMPACT_EVERY, left))
        left -= COMPACT_EVERY
        done = np.asarray(attack.done(state))
        if done.all():
            break
        if left > COMPACT_EVERY and 2 * (~done).sum() <= len(x):  # a smaller program pays only if it runs for a while
            whole = _put(whole, rows, state)
            some = np.argsort(done, kind="stable")[: (len(x) + 1) // 2]  # unfinished images first
            x, y, state, rows = _take((x, y, state, rows), some)
            model = model.rows(some) if hasattr(model, "rows") else model  # a model with a value for each image
    return state if len(rows) == size else _put(whole, rows, state)


@jax.jit
def _take(whole: Any, rows: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], whole)


@jax.jit
def _put(whole: Any, rows: Array, part: Any) -> Any:
    return jax.tree.map(lambda leaf, new: leaf.at[rows].set(new), whole, part)


@jax.jit
def _one(attack: Steps, model: Model, threat: Threat, x: Array, y: Any, state: Any, n: int) -> tuple[Any, Array]:
    state = attack.step(model, threat, x, y, state)
    return state, attack.done(state).all()


@jax.jit
def _many(
    attack: Steps, model: Model, threat: Threat, x: Array, y: Any, state: Any, n: Array | int
) -> tuple[Any, Array]:
    def going(carry: tuple[Array, Any]) -> Array:
        return (carry[0] < n) & ~attack.done(carry[1]).all()

    def step(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        return carry[0] + 1, attack.step(model, threat, x, y, carry[1])

    _, state = jax.lax.while_loop(going, step, (jnp.int32(0), state))
    return state, attack.done(state).all()


def loops_on_device(model: Model, x: Array) -> bool:
    """Decide whether to loop inside one program: not if the model calls the host, nor for plain convolutions on CPU.

    A model outside JAX takes its own time, so that a dispatch costs nothing and Ctrl-C is noticed after each step.
    XLA's CPU backend differentiates a plain convolution inside a loop about ten times slower than outside, and may do
    so for programs of `jax.export`. A convolution with a `custom_vjp` (as in this package's models) does not suffer.

    Parameters
    ----------
    model : Model
        Images `[B, H, W, C]` to logits `[B, K]`.
    x : Array
        Images, for their shape and type.

    Returns
    -------
    bool
        True to loop inside one program.
    """
    leaves, tree = jax.tree.flatten(model)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    slow = {EXTERNAL, EXPORTED, CONVOLUTION} if jax.default_backend() == "cpu" else {EXTERNAL}
    return not slow & _operations(tree, shapes, x.shape, x.dtype)


@lru_cache(maxsize=64)
def _operations(tree: Any, shapes: tuple[Any, ...], shape: tuple[int, ...], dtype: Any) -> frozenset[str]:
    """Collect the names of all primitives in the model; of those with a `custom_vjp` only those that hide work."""
    leaves = [jax.ShapeDtypeStruct(s, d) for s, d in shapes]
    program = jax.make_jaxpr(lambda model, x: model(x))(
        jax.tree.unflatten(tree, leaves), jax.ShapeDtypeStruct(shape, dtype)
    )
    return frozenset(_names(program.jaxpr))


def _names(program: Any) -> Iterator[str]:
    for equation in program.eqns:
        name = equation.primitive.name
        yield name
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from (n for n in _names(inner) if n in HIDING or not name.startswith("custom_vjp"))
