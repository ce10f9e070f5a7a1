"""From a jaxpr to a graph: calls are inlined, all maxima become those of two values, constants are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from advbench.bounds.conditions import VARYING, Greater, NotANumber, Unknown, condition_of, same
from advbench.bounds.graph import (
    Const,
    Node,
    Operand,
    Ref,
)
from advbench.bounds.pieces import Pieces
from advbench.bounds.primitives import (
    AFFINE,
    BILINEAR,
    CALLS,
    LOWEST,
    SMOOTH,
    UNCHANGED,
    numbers,
)

LARGE: Final = 16  # pixels of a window; the maxima within a larger one are bounded by intervals after the first half


class Reader:
    """Interprets a jaxpr on values that are arrays if constant, and a `Ref` if they vary with the image."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: list[Array] = []
        self.strange: set[str] = set()
        self.pieces = Pieces(self)

    def image(self, shape: tuple[int, ...]) -> Ref:
        """Add the image as the first node.

        Parameters
        ----------
        shape : tuple[int, ...]
            Shape `(1, H, W, C)`.

        Returns
        -------
        Ref
            The node.
        """
        return self.node("input", (), shape, lambda: jnp.zeros(shape))

    def run(self, jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Interpret a jaxpr.

        Parameters
        ----------
        jaxpr : Jaxpr
            Program.
        consts : Sequence[Any]
            Values of its constants.
        arguments : Sequence[Any]
            Values of its inputs.

        Returns
        -------
        list[Any]
            Values of its outputs.
        """
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
            consts = getattr(inner, "consts", ())  # constants of a closed jaxpr; older versions of JAX have plain ones
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
        """Interpret an operation on varying operands."""
        if (condition := condition_of(name, operands)) is not None:
            return condition
        if name == "select_n" and isinstance(operands[0], Greater):
            where, otherwise, chosen = operands
            return self._choice(where, otherwise, chosen, shape)
        if any(isinstance(operand, (Greater, NotANumber, Unknown)) for operand in operands):
            return Unknown()
        if name in (AFFINE | UNCHANGED) and _is_affine(name, operands, params):
            return self._affine(name, operands, shape, run)
        if name in SMOOTH:
            return self.pieces.known(self.node(name, operands, shape, run), operands[0], run)
        return self._curved(name, operands, shape, params)

    def _affine(self, name: str, operands: list[Any], shape: Any, run: Callable[..., Array]) -> Ref:
        if name in UNCHANGED:
            found: Ref = operands[0]
            return found
        made = self.node(name, operands, shape, run)
        self.pieces.affine(name, operands, made)
        return made

    def _curved(self, name: str, operands: list[Any], shape: Any, params: Any) -> Any:
        """Convert maxima and minima."""
        if name == "abs":
            return self.pieces.magnitude(operands[0])
        if name in ("max", "min"):
            first, second = operands
            return self.maximum(first, second, shape) if name == "max" else self.minimum(first, second, shape)
        if name == "clamp":
            low, x, high = operands
            return self.minimum(self.maximum(x, low, shape), high, shape)
        sign = self.negative if name.endswith("min") else lambda a: a
        if name in ("reduce_max", "reduce_min"):
            return sign(self._largest(self._cells(sign(operands[0]), params["axes"]), shape))
        if name in ("reduce_window_max", "reduce_window_min") and set(params["base_dilation"]) == {1}:
            return sign(self._largest(self._windows(sign(operands[0]), shape, params), shape))
        return Unknown()

    def _choice(self, condition: Greater, otherwise: Any, chosen: Any, shape: tuple[int, ...]) -> Any:
        """Convert `where(a > b, a, b)` to a maximum, `where(a > b, b, a)` to a minimum; else one must be constant."""
        a, b = condition
        if same(a, chosen) and same(b, otherwise):
            return self.maximum(chosen, otherwise, shape)
        if same(a, otherwise) and same(b, chosen):
            return self.minimum(chosen, otherwise, shape)
        found = None
        if isinstance(a, Ref) and not isinstance(b, VARYING):
            found = self.pieces.choice(a, b, chosen, otherwise)
        elif isinstance(b, Ref) and not isinstance(a, VARYING):
            found = self.pieces.choice(b, a, otherwise, chosen)
        return Unknown() if found is None else found

    def _largest(self, cells: Ref, shape: tuple[int, ...]) -> Ref:
        """Reduce `[k, *shape]` to its maximum along the first axis by halves: log2(k) maxima."""
        whole = self.nodes[cells.at].shape[0]
        while (count := self.nodes[cells.at].shape[0]) > 1:
            half = count // 2
            first, second = (self._part(cells, at, at + half) for at in (0, half))
            joined = self.maximum(first, second, (half, *shape), rough=whole > LARGE and count < whole)
            if rest := count - 2 * half:
                parts = (joined, self._part(cells, 2 * half, count))
                joined = self.node("concatenate", parts, (half + rest, *shape), lambda *p: jnp.concatenate(p))
            cells = joined
        return self.node("reshape", (cells,), shape, lambda x: x.reshape(shape))

    def _part(self, of: Ref, begin: int, end: int) -> Ref:
        return self.node("slice", (of,), (end - begin, *self.nodes[of.at].shape[1:]), lambda x: x[begin:end])

    def _cells(self, of: Ref, axes: Sequence[int]) -> Ref:
        """Move some axes into one, the first."""
        size = self.nodes[of.at].shape
        rest = [axis for axis in range(len(size)) if axis not in axes]
        order, shape = (*axes, *rest), (-1, *(size[axis] for axis in rest))
        count = int(np.prod([size[axis] for axis in axes], dtype=int))
        return self.node("reshape", (of,), (count, *shape[1:]), lambda x: x.transpose(order).reshape(shape))

    def _windows(self, of: Ref, shape: tuple[int, ...], params: Any) -> Ref:
        """Gather the values of every pooling window, `[k, *shape]`."""
        padding = [(low, high, 0) for low, high in params["padding"]]
        strides, dilation = params["window_strides"], params["window_dilation"]
        places = list(product(*map(range, params["window_dimensions"])))

        def cut(x: Array) -> Array:
            wide = lax.pad(x, jnp.asarray(LOWEST if any(any(p) for p in padding) else 0, x.dtype), padding)
            found = []
            for at in places:
                begin = [i * d for i, d in zip(at, dilation, strict=True)]
                end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, shape, strides, strict=True)]
                found.append(lax.slice(wide, begin, end, strides))
            return jnp.stack(found)

        return self.node("slice", (of,), (len(places), *shape), cut)

    def maximum(self, a: Any, b: Any, shape: tuple[int, ...], least: Any = None, *, rough: bool = False) -> Ref:
        """Add the maximum of two values, of which one may be a constant."""
        made = self.node("max", (a, b), shape, jnp.maximum, least, rough=rough)
        varying, fixed = (a, b) if isinstance(a, Ref) else (b, a)
        if not isinstance(fixed, Ref) and self.nodes[varying.at].shape == shape:
            self.pieces.known(made, varying, lambda x: jnp.maximum(x, fixed))
        return made

    def minimum(self, a: Any, b: Any, shape: tuple[int, ...]) -> Ref:
        """Add the minimum of two values, of which one may be a constant."""
        made: Ref = self.negative(self.maximum(self.negative(a), self.negative(b), shape))
        varying, fixed = (a, b) if isinstance(a, Ref) else (b, a)
        if not isinstance(fixed, Ref) and self.nodes[varying.at].shape == shape:
            self.pieces.known(made, varying, lambda x: jnp.minimum(x, fixed), capped=fixed)
        return made

    def negative(self, a: Any) -> Any:
        """Change the sign of a value."""
        if not isinstance(a, Ref):
            return -a if isinstance(a, np.ndarray) else -jnp.asarray(a)
        made = self.node("neg", (a,), self.nodes[a.at].shape, jnp.negative)
        self.pieces.affine("neg", [a], made)
        return made

    def node(
        self,
        name: str,
        operands: Sequence[Any],
        shape: tuple[int, ...],
        run: Callable[..., Array],
        least: Any = None,
        *,
        rough: bool = False,
    ) -> Ref:
        """Add an operation."""
        bottom = None if least is None else self._constant(least)
        self.nodes.append(Node(name, tuple(self._operand(o) for o in operands), shape, run, bottom, rough))
        return Ref(len(self.nodes) - 1)

    def _operand(self, value: Any) -> Operand:
        return value if isinstance(value, Ref) else self._constant(value)

    def _constant(self, value: Any) -> Const:
        """Add a constant; doubles keep their type, for bounds in double precision."""
        self.constants.append(value if getattr(value, "dtype", None) == np.float64 else jnp.asarray(value))
        return Const(len(self.constants) - 1)


def _runnable(equation: JaxprEqn) -> Callable[..., Array]:
    """Return the operation as a function of numbers of any float type."""
    params = dict(equation.params)
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
