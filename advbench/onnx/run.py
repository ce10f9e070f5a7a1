"""Execution of nodes one by one, branches and loops included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from advbench.core.errors import UsageError
from advbench.onnx.nodes import Body, OnnxNode, printable
from advbench.onnx.operators import OPERATORS, Untranslatable, known

LARGEST: Final = 2**28  # elements of a value for one image; a network that needs more is none
NODES: Final = 20_000  # of a graph, and operations of one run, loops unrolled
FLOW: Final = ("If", "Loop")
"""Operators that hold graphs; which nodes they run must not depend on pixels."""


class Execution:
    """One run over a batch of `images` images: `values` holds the results so far, by name."""

    def __init__(self, values: dict[str, Any], images: int):
        self.values, self.images, self.left = values, images, NODES

    def __call__(self, nodes: Sequence[OnnxNode]) -> None:
        """Run nodes in order.

        Parameters
        ----------
        nodes : sequence of OnnxNode
            The nodes.

        Raises
        ------
        UsageError
            Naming the node that can't be run.
        """
        for node in nodes:
            self.left -= 1
            if self.left < 0:
                raise UsageError(f"{node.called}: loops included, more than {NODES} operations are not supported")
            if missing := [name for name in node.inputs if name not in self.values]:
                givers = [f"is an unsupported output of {each.called}" for each in nodes if missing[0] in each.outputs]
                why = (givers or ["no node before it computes"])[0]
                raise UsageError(f"{node.called} needs {printable(missing[0])!r}, which {why}")
            with np.errstate(all="ignore"):
                results = self._results(node, [self.values[name] for name in node.inputs])
            for name, result in zip(node.outputs, results, strict=False):
                if math.prod(result.shape) > LARGEST * self.images:
                    raise UsageError(f"{node.called} would make an array of shape {list(result.shape)}: too large")
                self.values[name] = result
            self.values[""] = None

    def _results(self, node: OnnxNode, inputs: list[Any]) -> tuple[Any, ...]:
        try:
            if node.op in FLOW:
                result = self._branch(node, *inputs) if node.op == "If" else self._loop(node, *inputs)
            elif node.op in OPERATORS:
                result = OPERATORS[node.op](node, *inputs)
            else:
                raise Untranslatable("is an operator that is not supported")
        except UsageError:
            raise
        except Untranslatable as error:
            raise UsageError(f"{node.called}: {error}") from None
        except Exception as error:  # whatever NumPy or JAX say of shapes and types that don't fit
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{node.called} can't be run: {type(error).__name__}: {reason}") from None
        results = result if isinstance(result, tuple) else (result,)
        return tuple(np.asarray(value) if known(value) else value for value in results)

    def _body(self, body: Body, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """Run a body and return its outputs; its names are unique, so they can be stored beside all others."""
        self.values.update(zip(body.inputs, inputs, strict=True))
        self(body.nodes)
        return tuple(self.values[name] for name in body.outputs)

    def _branch(self, node: OnnxNode, condition: Any) -> tuple[Any, ...]:
        if not known(condition):
            raise Untranslatable("which branch is taken depends on the pixels or on weights")
        return self._body(node.bodies["then_branch" if bool(condition.item()) else "else_branch"], ())

    def _loop(self, node: OnnxNode, most: Any = None, condition: Any = None, *carried: Any) -> tuple[Any, ...]:
        """Run a loop unrolled: return the carried values, and the outputs of every iteration, stacked."""
        body, kept, at = node.bodies["body"], len(carried), 0
        rounds: list[tuple[Any, ...]] = []
        condition = np.array(True) if condition is None else condition
        if not known(most, condition):
            raise Untranslatable("the number of iterations depends on the pixels or on weights")
        while (most is None or at < int(most.item())) and bool(condition.item()):
            condition, *outputs = self._body(body, (np.array(at, np.int64), condition, *carried))
            if not known(condition):
                raise Untranslatable("the number of iterations depends on the pixels or on weights")
            carried, at = tuple(outputs[:kept]), at + 1
            rounds.append(tuple(outputs[kept:]))
            self.left -= 1  # an empty body runs for ever else
            if self.left < 0:
                raise Untranslatable(f"more than {NODES} operations in one run are not supported")
        if not rounds and len(node.outputs) > kept:
            raise Untranslatable("it never runs, and its outputs have no declared shape")
        columns = zip(*rounds, strict=True)
        return (*carried, *((np if known(*column) else jnp).stack(column) for column in columns))
