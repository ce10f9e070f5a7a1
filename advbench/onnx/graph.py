"""A graph of ONNX operators, run on JAX."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.core.choice import row_shape
from advbench.core.errors import UsageError
from advbench.onnx.nodes import OnnxNode, every, printable
from advbench.onnx.operators import OPERATORS
from advbench.onnx.operators.quantised import BATCHED, ROUNDING
from advbench.onnx.program import Program
from advbench.onnx.run import FLOW, NODES, Execution

WEIGHT: Final = 32  # elements; smaller float arrays are settings of operators, and known beforehand
FEW_BITS: Final = ("int4", "uint4", "int8", "uint8")
"""Types of quantised weights, never of shapes or indices."""

Weights = dict[str, Array]


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """A function `graph(weights, x)` from a batch of inputs to the output, or to several by name.

    Attributes
    ----------
    nodes : tuple of OnnxNode
        Nodes that the output needs, in order.
    constants : dict
        Arrays known beforehand; weights come as arguments, so that they are not compiled into programs.
    input : str
        Name of the images.
    outputs : tuple of str
        Names of the outputs.
    dtype : str
        Type that the input is converted to.
    batch : int or None
        The only batch size that the graph supports; other batches are cut into such groups.
    """

    nodes: tuple[OnnxNode, ...]
    constants: dict[str, np.ndarray]
    input: str
    outputs: tuple[str, ...]
    dtype: str
    batch: int | None

    @property
    def rounds(self) -> bool:
        """True if activations are quantised, so that gradients pass straight through steps."""
        return any(node.op in ROUNDING for node in every(self.nodes))

    def __call__(self, weights: Weights, x: Array) -> Any:
        """Run the graph.

        Parameters
        ----------
        weights : dict
            Arrays by name.
        x : Array
            float32 `[B, ...]`.

        Returns
        -------
        Array or dict
            The output `[B, ...]`, or several by name.

        Raises
        ------
        UsageError
            Naming the node that can't be run on arrays of these shapes.
        """
        x = x.astype(self.dtype)
        if self.batch is None:
            return self._run(weights, x)
        count, size = len(x), self.batch
        groups = x[jnp.arange(-(-count // size) * size) % count].reshape(-1, size, *x.shape[1:])
        outputs = jax.vmap(self._run, (None, 0))(weights, groups)
        return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:])[:count], outputs)

    def _run(self, weights: Weights, x: Array) -> Any:
        values: dict[str, Any] = {"": None, **self.constants, **weights, self.input: x}
        Execution(values, len(x))(self.nodes)
        if missing := [name for name in self.outputs if name not in values]:
            raise UsageError(f"the output {printable(missing[0])!r} is not supported by the operator that computes it")
        found = {name: jnp.asarray(values[name]) for name in self.outputs}
        return found if len(found) > 1 else found[self.outputs[0]]


def build(program: Program, path: Path) -> tuple[OnnxGraph, Weights]:
    """Make a program ready to run.

    Parameters
    ----------
    program : Program
        From `parse`.
    path : Path
        The file, for messages.

    Returns
    -------
    OnnxGraph
        The graph.
    dict
        Its weights by name.

    Raises
    ------
    UsageError
        Naming all operators that are not supported; or a node whose input no node computes, as in a graph with a cycle.
    """
    program = replace(program, outputs=_runnable(program))
    nodes = _needed(program, program.outputs)
    if len(nodes) > NODES:
        raise UsageError(f"{path} has {len(nodes)} nodes; more than {NODES} are not supported")
    _all_supported(nodes, path)
    there, moving = {"", program.input, *program.arrays}, {program.input}
    for node in nodes:
        if missing := [name for name in node.inputs if name not in there]:
            raise UsageError(f"{path}: {node.called} needs {printable(missing[0])!r}, which no node before it computes")
        there.update(node.outputs)
        if moving & node.reads():
            moving.update(filter(None, node.outputs))
    nodes = tuple(replace(node, fixed=moving.isdisjoint(node.outputs)) for node in nodes)
    if missing := [name for name in program.outputs if name not in there]:
        raise UsageError(f"{path} has no node that computes its output {printable(missing[0])!r}")
    used = {*program.outputs}.union(*(node.reads() for node in nodes))
    arrays = {name: array for name, array in program.arrays.items() if name in used}
    weights = {name: jax.device_put(_of_bytes(array)) for name, array in arrays.items() if _is_weight(array)}
    constants = {name: array for name, array in arrays.items() if name not in weights}
    batch = program.shape[0]
    if batch is None and any(node.op in BATCHED for node in every(nodes)):
        batch = 1
    return OnnxGraph(nodes, constants, program.input, program.outputs, program.dtype, batch), weights


def _is_weight(array: np.ndarray) -> bool:
    return array.size > WEIGHT and (array.dtype.name in FEW_BITS or bool(jnp.issubdtype(array.dtype, np.floating)))


def _of_bytes(array: np.ndarray) -> np.ndarray:
    """Convert types of four bits to those of eight, which every device has."""
    return array.astype(array.dtype.name.replace("int4", "int8")) if array.dtype.name in FEW_BITS else array


def logits_of(graph: OnnxGraph, weights: Weights, program: Program, path: Path) -> tuple[OnnxGraph, int | None]:
    """Trace the graph on a batch of two, without computing.

    Parameters
    ----------
    graph : OnnxGraph
        The graph.
    weights : dict
        Arrays by name.
    program : Program
        The file that it comes from.
    path : Path
        The file, for messages.

    Returns
    -------
    OnnxGraph
        With a batch of 1 if it supports no other, though it doesn't say so.
    int or None
        Number of logits; None if the size of the images, or the output that holds the logits, is open.

    Raises
    ------
    UsageError
        When a node can't be run, or the output is not `[2, K]`.
    """
    if None in program.shape[1:]:
        return graph, None
    x = jax.ShapeDtypeStruct((2, *program.shape[1:]), np.float32)
    try:
        out = jax.eval_shape(graph, weights, x)
    except UsageError as error:
        alone = replace(graph, batch=1)
        try:
            out = jax.eval_shape(alone, weights, x)
        except UsageError:
            raise UsageError(f"{path}: {error}") from None
        graph = alone
    shapes = [each.shape for each in jax.tree.leaves(out)]
    rows = [(*row_shape(shape), 1)[:2] for shape in shapes if len(row_shape(shape)) in (1, 2)]
    widths = [width for count, width in rows if count == 2]
    if not widths:
        got = ", ".join(str(list(shape)) for shape in shapes)
        raise UsageError(f"{path} should give logits [N, K]; for two images it gives {got}")
    return graph, widths[0] if len(shapes) == 1 and widths[0] > 1 else None


def _runnable(program: Program) -> tuple[str, ...]:
    """Return the outputs that depend on supported operators alone."""
    able = [name for name in program.outputs if all(_supported(node) for node in _needed(program, (name,)))]
    return tuple(able) or program.outputs


def _supported(node: OnnxNode) -> bool:
    """Return whether a node can be translated; branches are not checked, since one of them is never taken."""
    return node.op in OPERATORS or node.op in FLOW


def _needed(program: Program, outputs: tuple[str, ...]) -> tuple[OnnxNode, ...]:
    """Return the nodes that these outputs depend on, in the order of the file."""
    wanted, kept = set(outputs), []
    for node in reversed(program.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.reads() - {""})
            kept.append(node)
    return tuple(reversed(kept))


def _all_supported(nodes: tuple[OnnxNode, ...], path: Path) -> None:
    lacking: dict[str, list[str]] = {}
    for node in nodes:
        if not _supported(node):
            lacking.setdefault(printable(node.op), []).append(printable(node.name))
    if lacking:
        parts = [f"{op} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})" for op, names in sorted(lacking.items())]
        raise UsageError(f"{path} uses operators that are not supported: {'; '.join(parts)}")
