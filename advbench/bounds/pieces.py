"""Piecewise functions of one number, `where(x > c, f(x), g(x))`, as maxima, minima and sums.

A `Link` records every node that is an elementwise function of one other node. A choice is supported if both of its
pieces are elementwise functions of the number that it compares with a constant, and agree there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from advbench.bounds.graph import Ref

if TYPE_CHECKING:
    from advbench.bounds.reader import Reader

Line = tuple[Any, Any]
"""Slope and offset, each a constant that broadcasts to the node's shape."""


@dataclass(frozen=True)
class Link:
    """A node as an elementwise function of another one.

    Parameters
    ----------
    of : Ref
        The other node.
    run : Callable[[Any], Any]
        The function.
    line : Line, optional
        Slope and offset, if it is a line.
    rises : bool, default False
        Whether it is known never to decrease.
    capped : Any, optional
        c, where it is `min(x, c)`: constant from c on.
    """

    of: Ref
    run: Callable[[Any], Any]
    line: Line | None = None
    rises: bool = False
    capped: Any = None


def concrete(*values: Any) -> bool:
    """Tell whether constants are numbers, rather than tracers of a program.

    Parameters
    ----------
    *values : Any
        Constants.

    Returns
    -------
    bool
        True if all are numbers.
    """
    return not any(isinstance(value, Tracer) for value in values)


def exact(value: Any) -> np.ndarray:
    """Convert a constant to double precision, in which sums of two float32 numbers of similar size are nearly exact.

    Parameters
    ----------
    value : Any
        Number or array.

    Returns
    -------
    np.ndarray
        float64, of the same shape.
    """
    return np.asarray(value, np.float64)


class Pieces:
    """Nodes of a reader that are known as functions of single numbers."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.links: dict[int, Link] = {}

    def affine(self, name: str, operands: list[Any], made: Ref) -> None:
        """Record a node that `neg`, `add`, `sub` or `mul` made from one varying operand of its own shape."""
        varying = [operand for operand in operands if isinstance(operand, Ref)]
        if len(varying) != 1 or self.reader.nodes[varying[0].at].shape != self.reader.nodes[made.at].shape:
            return
        first: Any = operands[0]
        second: Any = operands[-1] if len(operands) == 2 else None
        constant: Any = second if isinstance(first, Ref) else first
        lines: dict[str, Callable[[], Line]] = {
            "neg": lambda: (-1, 0),
            "add": lambda: (1, constant),
            "mul": lambda: (constant, 0),
            "sub": lambda: (
                (1, -exact(constant) if concrete(constant) else -constant) if isinstance(first, Ref) else (-1, constant)
            ),
        }
        if name in lines:
            self.links[made.at] = Link(varying[0], self.reader.nodes[made.at].run_on(operands), lines[name]())

    def known(self, made: Ref, of: Any, run: Callable[[Any], Any], *, capped: Any = None) -> Ref:
        """Record an increasing function."""
        if isinstance(of, Ref):
            self.links[made.at] = Link(of, run, rises=True, capped=capped)
        return made

    def _up(self, value: Ref) -> Iterator[tuple[Ref, tuple[Link, ...]]]:
        """Yield all nodes of which a node is an elementwise function, itself first, with the links in between."""
        way: tuple[Link, ...] = ()
        yield value, way
        while link := self.links.get(value.at):
            value, way = link.of, (link, *way)
            yield value, way

    def choice(self, x: Ref, c: Any, above: Any, below: Any) -> Any:
        """Convert `where(x > c, above, below)`; None if it is not supported."""
        shape = self.reader.nodes[x.at].shape
        upper, lower = self._line(above, x), self._line(below, x)
        if upper is not None and lower is not None:
            return self._hinge(x, c, upper, lower, shape)
        for piece, flat, join in ((below, above, self.reader.minimum), (above, below, self.reader.maximum)):
            if isinstance(piece, Ref) and not isinstance(flat, Ref) and self._rises_to(piece, x, c, flat):
                return join(flat, piece, shape)
        if isinstance(below, Ref) and above == x and self._stays(below, x, c):
            total = self.reader.node("add", (below, self.reader.maximum(x, c, shape)), shape, jnp.add)
            return total if concrete(c) and not np.any(c) else self.reader.node("sub", (total, c), shape, jnp.subtract)
        return None

    def magnitude(self, x: Ref) -> Ref:
        """Convert |x|."""
        found: Ref = self._hinge(x, 0.0, (1, 0), (-1, 0), self.reader.nodes[x.at].shape)
        return found

    def _line(self, value: Any, x: Ref) -> Line | None:
        """Return a constant, or a line in x; None if it is neither."""
        if not isinstance(value, Ref):
            return (0, value)
        for at, way in self._up(value):
            if at == x and all(link.line is not None for link in way):
                if len(way) == 0:
                    return (1, 0)
                return way[0].line if len(way) == 1 else self._composed(way)
        return None

    @staticmethod
    def _composed(way: tuple[Link, ...]) -> Line | None:
        lines = [link.line for link in way if link.line is not None]
        if not concrete(*(number for line in lines for number in line)):
            return None
        slope, offset = exact(1), exact(0)
        for a, b in lines:
            slope, offset = exact(a) * slope, exact(a) * offset + exact(b)
        return slope, offset

    def _rises_to(self, value: Ref, x: Ref, c: Any, level: Any) -> bool:
        """Tell whether `value` never decreases in x, and equals `level` at x = c."""
        for at, way in self._up(value):
            if at == x and all(link.rises or _rising(link.line) for link in way) and concrete(c, level):
                return _equal(self._through(way, c), level)
        return False

    def _stays(self, value: Ref, x: Ref, c: Any) -> bool:
        """Tell whether `value` is a function of min(x, c), and equals c for x >= c."""
        for _, way in self._up(value):
            if way and way[0].of == x and way[0].capped is not None and concrete(c, way[0].capped):
                return _equal(way[0].capped, c) and _equal(self._through(way, c), c)
        return False

    def _through(self, way: tuple[Link, ...], value: Any) -> Array:
        """Apply links to a constant, at once even while a program is traced."""
        shape = self.reader.nodes[way[0].of.at].shape
        with jax.ensure_compile_time_eval():
            found = jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)
            for link in way:
                found = link.run(found)
        return found

    def _hinge(self, x: Ref, c: Any, above: Line, below: Line, shape: tuple[int, ...]) -> Any:
        """Join two lines that meet at c; None if they are not known to meet.

        If both gradients have the same sign, as a line plus a multiple of a maximum or minimum, with exact
        intervals; a V as the maximum of its two lines, which is never below its vertex.
        """
        if not _meet(c, above, below):
            return None
        (a, p), (b, q) = above, below
        if concrete(a, p, b, q, c):
            a, p, b, q = map(exact, (a, p, b, q))
            if np.all(a <= 0) and np.any(a):
                return self.reader.negative(self._hinge(x, c, (-a, -p), (-b, -q), shape))
            if np.all(a >= 0) and np.all(b <= 0) and np.any(b):
                level = np.broadcast_to(a * exact(c) + p, shape)
                first, second = self._drawn(x, a, p, shape), self._drawn(x, b, q, shape)
                return self.reader.maximum(first, second, shape, least=level)
            if np.all(a <= b):
                return self._bent(x, c, (b, a), p, shape, least=True)
        return self._bent(x, c, (a, b), q, shape, least=False)

    def _drawn(self, x: Ref, slope: Any, offset: Any, shape: tuple[int, ...]) -> Any:
        """Add a line in x, as nodes."""
        if not np.any(slope):
            return np.broadcast_to(offset, shape)
        found = x if np.all(slope == 1) else self.reader.node("mul", (x, slope), shape, jnp.multiply)
        return self.reader.node("add", (found, offset), shape, jnp.add) if np.any(offset) else found

    def _bent(
        self, x: Ref, c: Any, gradients: tuple[Any, Any], offset: Any, shape: tuple[int, ...], *, least: bool
    ) -> Ref:
        """Add `flat x + offset + (steep - flat) (max(x, c) - c)`, with gradients `(steep, flat)`; min if `least`."""
        steep, flat = gradients
        reader = self.reader
        more = exact(steep) - exact(flat) if concrete(steep, flat) else jnp.asarray(steep) - flat
        join = reader.minimum if least else reader.maximum
        found = join(x, c, shape)
        if not (concrete(c) and not np.any(c)):
            found = reader.node("sub", (found, c), shape, jnp.subtract)
        if not (concrete(more) and np.all(more == 1)):
            found = reader.node("mul", (found, more), shape, jnp.multiply)
        if not (concrete(flat) and not np.any(flat)):
            found = reader.node("add", (found, reader.node("mul", (x, flat), shape, jnp.multiply)), shape, jnp.add)
        if not (concrete(offset) and not np.any(offset)):
            found = reader.node("add", (found, offset), shape, jnp.add)
        return found


def _meet(c: Any, above: Line, below: Line) -> bool:
    """Tell whether two lines have the same value at c."""
    offsets = (above[1], below[1])
    if concrete(c, *offsets) and not np.any(c) and not any(map(np.any, offsets)):
        return True
    if not concrete(c, *above, *below):
        return False
    ends = [exact(slope) * exact(c) + exact(offset) for slope, offset in (above, below)]
    return bool(np.all(ends[0] == ends[1]))


def _rising(line: Line | None) -> bool:
    return line is not None and concrete(*line) and bool(np.all(np.asarray(line[0]) >= 0))


def _equal(a: Any, b: Any) -> bool:
    return concrete(a, b) and bool(np.all(np.asarray(a) == np.asarray(b)))
