"""Convolutions in a jaxpr with what follows them: sums and products by channel, ReLU, and 2x2 max pooling.

Sums and products by channel, such as a bias and normalisation by fixed statistics, become those of the weights; the
rest is one pass of the native kernel, `fused.conv_relu`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from advbench.nn.fused import conv_relu

AFFINE = ("add", "sub", "mul", "div")


class Chain(NamedTuple):
    """A convolution, and the equations up to the last of what follows it."""

    convolution: JaxprEqn
    affine: tuple[tuple[str, Any], ...]  # operations, and their operands that have one number for each channel
    pool: bool
    between: tuple[JaxprEqn, ...]  # all but the last, whose values nothing else reads
    last: JaxprEqn

    def compute(self, value: Callable[[Any], Any]) -> Array:
        """The output of the last equation; `value` gives that of an operand."""
        params = self.convolution.params
        images, weights, out = params["dimension_numbers"]
        x, kernel = (value(atom) for atom in self.convolution.invars)
        kernel = kernel.transpose(*weights[2:], weights[1], weights[0])
        bias = jnp.zeros(kernel.shape[3], kernel.dtype)
        for name, atom in self.affine:
            row = value(atom).reshape(-1)
            if name in ("add", "sub"):
                bias = bias + row if name == "add" else bias - row
            else:
                scale = row if name == "mul" else 1 / row
                kernel, bias = kernel * scale, bias * scale
        y = conv_relu(
            x.transpose(images[0], *images[2:], images[1]), kernel, bias, padding=params["padding"], pool=self.pool
        )
        return y.transpose([(out[0], *out[2:], out[1]).index(axis) for axis in range(4)])


def chains(jaxpr: Jaxpr, is_plain: Callable[[JaxprEqn], bool]) -> list[Chain]:
    """Find them.

    Parameters
    ----------
    jaxpr : Jaxpr
    is_plain : callable
        Which equations are convolutions that `ops.conv2d` computes.

    Returns
    -------
    list of Chain
        Those that end in a ReLU, or in the pooling behind it.
    """
    read = Counter(atom for equation in jaxpr.eqns for atom in equation.invars if not isinstance(atom, Literal))
    read.update(atom for atom in jaxpr.outvars if not isinstance(atom, Literal))
    reader = {atom: e for e in jaxpr.eqns for atom in e.invars if not isinstance(atom, Literal) and read[atom] == 1}
    found = (_chain(each, reader) for each in jaxpr.eqns if is_plain(each) and each.params["window_strides"] == (1, 1))
    return [chain for chain in found if chain is not None]


def _chain(convolution: JaxprEqn, reader: dict[Any, JaxprEqn]) -> Chain | None:
    out = convolution.params["dimension_numbers"].out_spec
    affine: list[tuple[str, Any]] = []
    between, at = [convolution], convolution
    while (following := reader.get(at.outvars[0])) is not None and following.primitive.name in AFFINE:
        if (operand := _by_channel(following, at.outvars[0], out[1])) is None:
            return None
        affine.append((following.primitive.name, operand))
        between.append(following)
        at = following
    if following is None or not _is_relu(following):
        return None
    pooling = reader.get(following.outvars[0])
    if pooling is not None and _halves(pooling, out[2:]):
        return Chain(convolution, tuple(affine), True, (*between, following), pooling)
    return Chain(convolution, tuple(affine), False, tuple(between), following)


def _by_channel(equation: JaxprEqn, x: Any, axis: int) -> Any:
    """The operand beside `x`, if it has one number for each channel."""
    first, second = equation.invars
    if first is not x and equation.primitive.name in ("sub", "div"):
        return None
    other: Any = second if first is x else first
    rows: Any = equation.outvars[0].aval
    wanted = [side if at == axis else 1 for at, side in enumerate(rows.shape)]
    return other if [*other.aval.shape] == wanted and other.aval.dtype == rows.dtype else None


def _is_relu(equation: JaxprEqn) -> bool:
    """Return whether it is `jax.nn.relu`, with gradient 0 at 0; another `custom_jvp` may look the same."""
    program: Any = equation.params.get("call_jaxpr")
    return equation.primitive.name == "custom_jvp_call" and _source(program) == _relu()


@cache
def _relu() -> Any:
    (equation,) = jax.make_jaxpr(jax.nn.relu)(0.0).jaxpr.eqns
    return _source(equation.params.get("call_jaxpr"))


def _source(program: Any) -> Any:
    """File and line of a function."""
    told = getattr(getattr(program, "jaxpr", None), "debug_info", None)
    return getattr(told, "func_src_info", None) or object()


def _halves(equation: JaxprEqn, axes: Sequence[int]) -> bool:
    """Return whether it is max pooling over disjoint 2x2 windows."""
    if equation.primitive.name != "reduce_window_max":
        return False
    params, window = equation.params, [2 if at in axes else 1 for at in range(4)]
    return (
        [*params["window_dimensions"]] == [*params["window_strides"]] == window
        and not any(map(any, params["padding"]))
        and {*params["base_dilation"], *params["window_dilation"]} == {1}
    )
