"""Where an attack's iterations run: inside one compiled program, or stepped from the host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.model import Model
from advbench.core.threat import Threat

STRIDE = 25  # steps a dispatch: enough to hide its cost, few enough for Ctrl-C to be heard
EXTERNAL = "external"  # primitive of a model that lives outside JAX
EXPORTED = "call_exported"  # what is inside can't be seen
HIDING = (EXTERNAL, EXPORTED)
CONVOLUTION = "conv_general_dilated"
SPAN = 200  # steps after which it is looked at how many images are done

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class TimeUp(Exception):
    """The deadline passed between two dispatches; what was reached is lost."""


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Within this block attacks stepped from the host raise `TimeUp` once `time.monotonic()` is past `deadline`."""
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


class Steps(Protocol):
    """What can be iterated: one step on a batch, and which images need no more of them."""

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: Any) -> Any:
        """The state after one more step; `x` are the clean images."""

    def done(self, state: Any) -> Array:
        """Bool `[B]`: images whose further steps would change nothing."""


def iterate(attack: Steps, model: Model, threat: Threat, x: Array, y: Any, state: Any, steps: Array | int) -> Any:
    """Take `steps` steps, or fewer once every image is done. Works eagerly and under a trace.

    A model may say by `spent` that it answers no more: then what was reached is returned.
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
        except (jax.errors.JaxRuntimeError, ValueError):  # a host function's error comes as either
            if not getattr(model, "spent", False):
                raise
            break
        state, left = reached, left - stride
        if over:
            break
    return state


def dwindle(attack: Steps, model: Model, threat: Threat, x: Array, y: Any, state: Any, steps: Array | int) -> Any:
    """As `iterate`, for thousands of steps: images that are done leave the batch each time it can be halved.

    Every leaf of `y` and of the state has leading axis B.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((attack, model, threat, x, y, state))):
        return iterate(attack, model, threat, x, y, state, steps)
    whole, rows, left = state, jnp.arange(len(x)), int(steps)
    while left > 0:
        state = iterate(attack, model, threat, x, y, state, min(SPAN, left))
        left -= SPAN
        done = attack.done(state)
        if done.all():
            break
        if left > SPAN and 2 * (~done).sum() <= len(x):  # a smaller program pays only if it runs for a while
            whole = _put(whole, rows, state)
            some = jnp.argsort(done)[: (len(x) + 1) // 2]  # those that aren't done come first
            x, y, state, rows = _take((x, y, state, rows), some)
            model = model.rows(some) if hasattr(model, "rows") else model  # one that knows each image's label
    return _put(whole, rows, state)


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
    """Whether to loop inside one program: not where the model calls the host, nor on CPU with a plain convolution.

    A model outside JAX takes its own time, so that a dispatch costs nothing and Ctrl-C is heard after each step.
    XLA's CPU backend differentiates a plain convolution inside a loop some ten times slower than outside.
    So may what `jax.export` wrote. A convolution with a `custom_vjp` (as in this package's models) does not suffer.
    """
    leaves, tree = jax.tree.flatten(model)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    slow = {EXTERNAL, EXPORTED, CONVOLUTION} if jax.default_backend() == "cpu" else {EXTERNAL}
    return not slow & _operations(tree, shapes, x.shape, x.dtype)


@lru_cache(maxsize=64)
def _operations(tree: Any, shapes: tuple[Any, ...], shape: tuple[int, ...], dtype: Any) -> frozenset[str]:
    """Names of all primitives in the model; of those with a `custom_vjp` only what hides its work."""
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
