"""Convolution and max pooling of this package in anybody's JAX model, put in by rewriting its jaxpr.

XLA's CPU backend differentiates a plain convolution slowly, and inside a compiled loop some ten times slower still.
`ops.conv2d` does not, and has a native kernel. A model that JAX traces is read once for each shape of images; where an
equation of its jaxpr computes exactly what an operator here does, that operator is called, everything else is left as
it is. A convolution is fused with what follows it (`chains.py`). Calls, branches, loops and rematerialisation are
entered; what has a derivative of its own (`custom_jvp`, `custom_vjp`) is not, since that derivative has to be kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from advbench.core.plain import is_reference
from advbench.nn import ops, pooling
from advbench.nn.chains import chains

CALLS: Final = ("jit", "pjit", "closed_call", "core_call")
CONTROL: Final = ("remat", "remat2", "checkpoint", "scan", "while", "cond")
WINDOW: Final = 64  # most pixels of a pooling window that are taken one by one


class Count(NamedTuple):
    """Operations of a model's jaxpr: those that are replaced, and convolutions that are not."""

    convolutions: int
    pools: int
    left: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rewritten:
    """A network with this package's operators in the place of JAX's; its weights are those of `network`.

    Parameters
    ----------
    network : callable pytree
        Images, and whatever else it takes, to one or several outputs.
    """

    network: Callable[..., Any]

    def __call__(self, x: Array, /, *more: Any) -> Any:
        """The outputs of `network`, equal to rounding."""
        if not enabled() or is_reference():
            return self.network(x, *more)
        values, tree = jax.tree.flatten((self.network, x, *more))
        program, form = _traced(tree, tuple(jax.typeof(value) for value in values))
        return jax.tree.unflatten(form, _run(program.jaxpr, program.consts, values))


def enabled() -> bool:
    """Return whether to rewrite at all: on CPU, unless `ADVBENCH_NATIVE=0` asks for XLA's own operators.

    Returns
    -------
    bool
        Whether models are rewritten.
    """
    return jax.default_backend() == "cpu" and os.environ.get("ADVBENCH_NATIVE") != "0"


def count(network: Callable[..., Any], x: jax.ShapeDtypeStruct) -> Count:
    """Look at what `Rewritten(network)` replaces for images of this shape.

    Parameters
    ----------
    network : Callable[..., Any]
        Model, a pytree.
    x : Array
        Images that it takes; only shape and type count.

    Returns
    -------
    Count
        Numbers of operations.
    """
    values, tree = jax.tree.flatten((network, x))
    program, _ = _traced(tree, tuple(jax.typeof(value) for value in values))
    kinds = list(_kinds(program.jaxpr))
    return Count(kinds.count("convolution"), kinds.count("pool"), kinds.count("left"))


@lru_cache(maxsize=32)
def _traced(tree: Any, kinds: tuple[Any, ...]) -> tuple[ClosedJaxpr, Any]:
    """A network's jaxpr, of its leaves and all that it is called with, and the structure of its outputs."""

    def call(*values: Any) -> Any:
        network, *arguments = jax.tree.unflatten(tree, values)
        return network(*arguments)

    program, shapes = jax.make_jaxpr(call, return_shape=True)(*kinds)
    return program, jax.tree.structure(shapes)


def _run(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Values of a jaxpr's outputs."""
    values: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    found: Sequence[Any]
    fused = {id(chain.last): chain for chain in chains(jaxpr, _is_plain_convolution)}
    left_out = {id(equation) for chain in fused.values() for equation in chain.between}
    for equation in jaxpr.eqns:
        if id(equation) in left_out:
            continue
        if (chain := fused.get(id(equation))) is not None:
            found = [chain.compute(value)]
        else:
            found = _equation(jaxpr, equation, [value(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, found, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _equation(jaxpr: Jaxpr, equation: JaxprEqn, operands: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if _is_plain_convolution(equation):
        return [_convolution(params, *operands)]
    if _is_plain_pool(equation):
        return [_pool(params, *operands)]
    if name in CALLS and _changes(equation):
        return _open(params.get("jaxpr", params.get("call_jaxpr")))(*operands)
    if name in CONTROL and _changes(equation):
        return _control(name, params, operands)
    # By the public function for jaxprs, since how primitives are bound differs by JAX's version.
    given = {a: v for a, v in zip(equation.invars, operands, strict=True) if not isinstance(a, Literal)}
    alone = Jaxpr(
        constvars=(),
        invars=list(given),
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
        debug_info=jaxpr.debug_info._replace(arg_names=None, result_paths=None),
    )
    found: Sequence[Any] = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*given.values())
    return found


def _open(program: Any) -> Callable[..., list[Any]]:
    """A jaxpr, closed or not, as a function."""
    return lambda *arguments: _run(getattr(program, "jaxpr", program), getattr(program, "consts", ()), arguments)


def _control(name: str, params: dict[str, Any], operands: list[Any]) -> Sequence[Any]:
    """Loops, branches and rematerialisation, made anew around what is rewritten inside."""
    if name == "cond":
        chosen: Sequence[Any] = lax.switch(operands[0], [_open(each) for each in params["branches"]], *operands[1:])
        return chosen
    if name == "while":
        test, body = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        going, step = _open(params["cond_jaxpr"]), _open(params["body_jaxpr"])
        return lax.while_loop(
            lambda state: going(*operands[:test], *state)[0],
            lambda state: step(*operands[test:body], *state),
            operands[body:],
        )
    if name == "scan":
        fixed, carried = params["num_consts"], params["num_carry"]
        step = _open(params["jaxpr"])

        def body(state: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
            found = step(*operands[:fixed], *state, *row)
            return found[:carried], found[carried:]

        start, rows = operands[fixed : fixed + carried], operands[fixed + carried :]
        how = {key: params[key] for key in ("length", "reverse", "unroll")}
        state, out = lax.scan(body, start, rows, **how)
        return [*state, *out]
    again = jax.checkpoint(_open(params["jaxpr"]), prevent_cse=params["prevent_cse"], policy=params["policy"])
    found: Sequence[Any] = again(*operands)
    return found


def _kinds(jaxpr: Jaxpr) -> Iterator[str]:
    """Yield the treatment of each relevant equation, including those of entered ones."""
    for equation in jaxpr.eqns:
        if _is_plain_convolution(equation):
            yield "convolution"
        elif _is_plain_pool(equation):
            yield "pool"
        elif equation.primitive.name == "conv_general_dilated":
            yield "left"
        elif equation.primitive.name in CALLS + CONTROL:
            for inner in _inner(equation):
                yield from _kinds(inner)
        elif equation.primitive.name.startswith("custom_jvp"):
            yield from ("left" for inner in _inner(equation) for kind in _kinds(inner) if kind != "pool")


def _changes(equation: JaxprEqn) -> bool:
    return any(kind in ("convolution", "pool") for inner in _inner(equation) for kind in _kinds(inner))


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """Jaxprs within an equation."""
    for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")):
        inner: Any = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner


def _is_plain_convolution(equation: JaxprEqn) -> bool:
    """Return whether `ops.conv2d` computes the same."""
    if equation.primitive.name != "conv_general_dilated":
        return False
    params, steps = equation.params, equation.params["window_strides"]
    return (
        len(steps) == 2
        and steps[0] == steps[1]
        and {*params["lhs_dilation"], *params["rhs_dilation"]} == {1}
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and _are_single(*equation.invars, *equation.outvars)
        and _is_single(params["precision"])
        and params.get("out_sharding") is None
    )


def _are_single(*atoms: Any) -> bool:
    return all(atom.aval.dtype == jnp.float32 for atom in atoms)


def _is_single(precision: Any) -> bool:
    """Return whether products are computed in float32 on CPU: no algorithm of fewer bits is named."""
    each = precision if isinstance(precision, tuple) else (precision,)
    return all(one is None or isinstance(one, lax.Precision) for one in each)


def _convolution(params: dict[str, Any], x: Array, kernel: Array) -> Array:
    """Any order of axes, through transposes that XLA merges with what lies around them."""
    images, weights, out = params["dimension_numbers"]
    y = ops.conv2d(
        x.transpose(images[0], *images[2:], images[1]),
        kernel.transpose(*weights[2:], weights[1], weights[0]),
        stride=params["window_strides"][0],
        padding=params["padding"],
    )
    return y.transpose([(out[0], *out[2:], out[1]).index(axis) for axis in range(4)])


def _is_plain_pool(equation: JaxprEqn) -> bool:
    """Return whether the maximum is over small windows of floats; JAX too favours the first of tied pixels."""
    if equation.primitive.name != "reduce_window_max":
        return False
    params, sides = equation.params, equation.params["window_dimensions"]
    return (
        1 < math.prod(sides) <= WINDOW
        and {*params["base_dilation"], *params["window_dilation"]} == {1}
        and _are_single(*equation.outvars)
    )


def _pool(params: dict[str, Any], x: Array) -> Array:
    return pooling.max_windows(x, params["window_dimensions"], params["window_strides"], params["padding"])
