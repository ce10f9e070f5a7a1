"""From a jaxpr to a graph: calls are inlined, all maxima become those of two values, constants are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import product
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from advbench.bounds.graph import (
    Const,
    Node,
    Operand,
    Ref,
)
from advbench.bounds.primitives import (
    AFFINE,
    BILINEAR,
    CALLS,
    LOWEST,
    SMOOTH,
    numbers,
)


class Greater(NamedTuple):
    """Where `a` is greater than `b` (or equal, or not a number): a condition, which only a choice may read."""

    a: Any
    b: Any


class NotANumber(NamedTuple):
    """Where `a` is NaN; bounds speak of finite values only."""

    a: Any


class Unknown(NamedTuple):
    """What an operation without bounds computes."""


VARYING = (Ref, Greater, NotANumber, Unknown)


class Reader:
    """Interprets a jaxpr on values that are arrays where constant, and a `Ref` where they vary with the image."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: list[Array] = []
        self.strange: set[str] = set()

    def image(self, shape: tuple[int, ...]) -> Ref:
        """Begin with the image."""
        return self._node("input", (), shape, lambda: jnp.zeros(shape))

    def run(self, jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Values of the outputs."""
        values: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

        def value(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        for equation in jaxpr.eqns:
            found = self._equation(equation, [value(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, found, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: JaxprEqn, operands: list[Any]) -> Sequence[Any]:
        primitive, params = equation.primitive, equation.params
        if primitive.name in CALLS:
            inner: Any = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
            consts = getattr(inner, "consts", ())  # closed over, unless by an older jax's plain `Jaxpr`
            return self.run(getattr(inner, "jaxpr", inner), consts, operands)
        if not any(isinstance(operand, VARYING) for operand in operands):
            found = primitive.bind(*operands, **params)
            return found if primitive.multiple_results else [found]
        out: Any = equation.outvars[0].aval
        shape = tuple(out.shape)
        result = self._vary(primitive.name, operands, shape, _runnable(equation), params)
        if isinstance(result, Unknown):
            if not any(isinstance(operand, Unknown) for operand in operands):
                self.strange.add(primitive.name)
            return [result] * len(equation.outvars)
        return [result]

    def _vary(self, name: str, operands: list[Any], shape: Any, run: Callable[..., Array], params: Any) -> Any:
        """What an operation on varying operands is."""
        if (condition := _condition(name, operands)) is not None:
            return condition
        if name == "select_n" and isinstance(operands[0], Greater):
            where, otherwise, chosen = operands
            return self._choice(where, otherwise, chosen, shape)
        if any(isinstance(operand, (Greater, NotANumber, Unknown)) for operand in operands):
            return Unknown()
        if name in SMOOTH or name == "max" or (name in AFFINE and _is_affine(name, operands, params)):
            return self._node(name, operands, shape, run)
        return self._other_maximum(name, operands, shape, params)

    def _other_maximum(self, name: str, operands: list[Any], shape: Any, params: Any) -> Any:
        if name == "min":
            first, second = operands
            return self._min(first, second, shape)
        if name == "reduce_max":
            return self._fold(self._cells(operands[0], params["axes"]), shape)
        if name == "reduce_window_max" and set(params["base_dilation"]) == {1}:
            return self._fold(self._windows(operands[0], shape, params), shape)
        return Unknown()

    def _choice(self, condition: Greater, otherwise: Any, chosen: Any, shape: tuple[int, ...]) -> Any:
        """`where(a > b, a, b)` is a maximum, `where(a > b, b, a)` a minimum; nothing else is known."""
        if _same(condition.a, chosen) and _same(condition.b, otherwise):
            return self._max(chosen, otherwise, shape)
        if _same(condition.a, otherwise) and _same(condition.b, chosen):
            return self._min(chosen, otherwise, shape)
        return Unknown()

    def _fold(self, parts: list[Ref], shape: tuple[int, ...]) -> Any:
        return reduce(lambda a, b: self._max(a, b, shape), parts)

    def _cells(self, of: Ref, axes: Sequence[int]) -> list[Ref]:
        """What lies along some axes, one by one, without these axes."""
        size = self.nodes[of.at].shape
        rest = tuple(n for axis, n in enumerate(size) if axis not in axes)

        def cut(x: Array, at: tuple[int, ...]) -> Array:
            where = dict(zip(axes, at, strict=True))
            return x[tuple(where.get(axis, slice(None)) for axis in range(x.ndim))]

        places = product(*(range(size[axis]) for axis in axes))
        return [self._node("slice", (of,), rest, partial(cut, at=at)) for at in places]

    def _windows(self, of: Ref, shape: tuple[int, ...], params: Any) -> list[Ref]:
        """The first, second, ... value of every pooling window."""
        padding = [(low, high, 0) for low, high in params["padding"]]
        strides, dilation = params["window_strides"], params["window_dilation"]

        def cut(x: Array, at: tuple[int, ...]) -> Array:
            wide = lax.pad(x, jnp.asarray(LOWEST if any(any(p) for p in padding) else 0, x.dtype), padding)
            begin = [i * d for i, d in zip(at, dilation, strict=True)]
            end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, shape, strides, strict=True)]
            return lax.slice(wide, begin, end, strides)

        places = product(*map(range, params["window_dimensions"]))
        return [self._node("slice", (of,), shape, partial(cut, at=at)) for at in places]

    def _max(self, a: Any, b: Any, shape: tuple[int, ...]) -> Ref:
        return self._node("max", (a, b), shape, jnp.maximum)

    def _min(self, a: Any, b: Any, shape: tuple[int, ...]) -> Ref:
        return Ref(self._neg(self._max(self._neg(a), self._neg(b), shape), shape).at)

    def _neg(self, a: Any, shape: tuple[int, ...] | None = None) -> Any:
        if not isinstance(a, Ref):
            return -jnp.asarray(a)
        return self._node("neg", (a,), shape or self.nodes[a.at].shape, jnp.negative)

    def _node(self, name: str, operands: Sequence[Any], shape: tuple[int, ...], run: Callable[..., Array]) -> Ref:
        self.nodes.append(Node(name, tuple(self._operand(o) for o in operands), shape, run))
        return Ref(len(self.nodes) - 1)

    def _operand(self, value: Any) -> Operand:
        if isinstance(value, Ref):
            return value
        self.constants.append(jnp.asarray(value))
        return Const(len(self.constants) - 1)


def _runnable(equation: JaxprEqn) -> Callable[..., Array]:
    """The operation on numbers of any float type; a change of the type is none, since bounds have one of their own."""
    name, params = equation.primitive.name, dict(equation.params)
    if name == "convert_element_type":
        return lambda x: x
    if "preferred_element_type" in params:
        params["preferred_element_type"] = None
    return partial(equation.primitive.bind, **params)


def _is_affine(name: str, operands: list[Any], params: Any) -> bool:
    varies = [isinstance(operand, Ref) for operand in operands]
    if name == "convert_element_type":  # coarser types round more than bounds allow for
        return bool(np.dtype(params["new_dtype"]) in (np.float32, np.float64))
    if name in BILINEAR:
        return sum(varies) == 1 and (name != "div" or varies[0])
    return not any(varies) or sum(varies[numbers(name)]) == sum(varies)


def _condition(name: str, operands: list[Any]) -> Greater | NotANumber | None:
    """Comparisons, kept in words."""
    if name in ("gt", "ge"):
        return Greater(*operands)
    if name in ("lt", "le"):
        return Greater(*operands[::-1])
    if name == "ne" and _same(*operands):
        return NotANumber(operands[0])
    if name == "or":
        greater = [o for o in operands if isinstance(o, Greater)]
        if len(greater) == 1 and all(isinstance(o, (Greater, NotANumber)) for o in operands):
            return greater[0]
    return None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, VARYING) or isinstance(b, VARYING):
        return isinstance(a, Ref) and isinstance(b, Ref) and a == b
    if isinstance(a, Tracer) or isinstance(b, Tracer):
        return a is b
    return bool(np.all(np.asarray(a) == np.asarray(b)))
