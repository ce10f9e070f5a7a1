"""The nodes of an ONNX graph and its inner graphs, as plain Python; every name belongs to one value only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from advbench.core.errors import CorruptFile, UsageError
from advbench.onnx.external import ExternalData

ONNX_DOMAINS: Final = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Body:
    """A branch or the body of a loop: a graph that also sees the values around it.

    Attributes
    ----------
    nodes : tuple of OnnxNode
        Nodes in order.
    inputs, outputs : tuple of str
        Names of the arrays.
    """

    nodes: tuple[OnnxNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One operation.

    Attributes
    ----------
    op, name : str
        Operator, with its domain unless it is ONNX's own, and name of the node.
    inputs, outputs : tuple of str
        Names of the arrays; an absent input has an empty name.
    attributes : dict
        Settings by name.
    opset : int
        Version of the operators.
    bodies : mapping
        Inner graphs by name.
    fixed : bool
        No image reaches the node, so that its results are the same for all.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int
    bodies: Mapping[str, Body] = field(default_factory=dict)
    fixed: bool = False

    @property
    def called(self) -> str:
        """Name of the node in messages."""
        return f"node {printable(self.name)!r} ({printable(self.op)})"

    def reads(self) -> set[str]:
        """Return the names that the node may read: its inputs, and those that its bodies mention.

        Returns
        -------
        set of str
            Names.
        """
        found = set(self.inputs)
        for body in self.bodies.values():
            found.update(body.outputs, *(node.reads() for node in body.nodes))
        return found


def every(nodes: Iterable[OnnxNode]) -> Iterator[OnnxNode]:
    """Yield all nodes, those of inner graphs included.

    Parameters
    ----------
    nodes : iterable of OnnxNode
        Outer nodes.

    Returns
    -------
    iterator of OnnxNode
        All nodes.
    """
    for node in nodes:
        yield node
        for body in node.bodies.values():
            yield from every(body.nodes)


def printable(name: str) -> str:
    """Make a name from a file fit for one line.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        At most 80 printable characters.
    """
    return "".join(c if c.isprintable() else "?" for c in name[:80])


def text(name: str | bytes) -> str:
    """Decode a name from a file: protobuf gives bytes for one that is not UTF-8.

    Parameters
    ----------
    name : str or bytes
        From protobuf.

    Returns
    -------
    str
        Text.
    """
    return name if isinstance(name, str) else name.decode(errors="replace")


class NodeReader:
    """Reader of graphs, inner ones included.

    `arrays` gathers initializers and constants of all graphs; `data` reads those in other files.
    """

    def __init__(self, path: Path, opset: int, graph: Any):
        self.path, self.opset, self.data = path, opset, ExternalData(path)
        self.arrays: dict[str, np.ndarray] = {}
        self._taken = {text(name) for node in graph.node for name in node.output}
        self._taken |= {text(value.name) for value in (*graph.input, *graph.initializer)}

    def read(
        self, graph: Any, scope: Mapping[str, str], *, inner: bool = False
    ) -> tuple[tuple[OnnxNode, ...], dict[str, str]]:
        """Read a graph. Names of an inner graph that occur elsewhere are changed.

        Parameters
        ----------
        graph : onnx.GraphProto
            The graph.
        scope : mapping
            Current names of the values around it.
        inner : bool
            It is an inner graph.

        Returns
        -------
        tuple of OnnxNode
            Nodes in order.
        dict
            Current names by those in the file.
        """
        if graph.sparse_initializer:
            raise UsageError(f"{self.path} has sparse weights, which are not supported")
        names = dict(scope) | {"": ""}
        own = [*graph.initializer, *graph.input] if inner else graph.initializer
        for value in own:
            names[text(value.name)] = self._unused(text(value.name)) if inner else text(value.name)
        for tensor in graph.initializer:
            self.arrays[names[text(tensor.name)]] = self.array(tensor)
        nodes = []
        for proto in graph.node:
            reads = tuple(names.get(text(name), text(name)) for name in proto.input)
            attributes, bodies = self._attributes(proto, names)
            for name in map(text, proto.output):
                names[name] = (self._unused(name) if inner else name) if name else ""
            node = self._node(proto, reads, tuple(names[text(name)] for name in proto.output), attributes, bodies)
            if node.op == "Constant" and (value := _constant(node)) is not None:
                self.arrays[node.outputs[0]] = value
            else:
                nodes.append(node)
        return tuple(nodes), names

    def _node(
        self,
        proto: Any,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: dict[str, Any],
        bodies: dict[str, Body],
    ) -> OnnxNode:
        op, domain = text(proto.op_type), text(proto.domain)
        return OnnxNode(
            op=op if domain in ONNX_DOMAINS else f"{domain}::{op}",
            name=text(proto.name) or f"{op} computing {', '.join(map(text, proto.output))}",
            inputs=inputs,
            outputs=outputs,
            attributes=attributes,
            opset=self.opset,
            bodies=bodies,
        )

    def _unused(self, name: str) -> str:
        new, at = name, 1
        while new in self._taken:
            new, at = f"{name}#{at}", at + 1
        self._taken.add(new)
        return new

    def _attributes(self, proto: Any, names: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Body]]:
        """Return the settings by name, and the inner graphs by name."""
        from onnx import AttributeProto, helper

        found: dict[str, Any] = {}
        bodies = {}
        for attribute in proto.attribute:
            name = text(attribute.name)
            if attribute.type == AttributeProto.GRAPH:
                nodes, inside = self.read(attribute.g, names, inner=True)
                ends = [
                    tuple(inside.get(text(v.name), text(v.name)) for v in values)
                    for values in (attribute.g.input, attribute.g.output)
                ]
                bodies[name] = Body(nodes, *ends)
                continue
            try:
                value = helper.get_attribute_value(attribute)
            except ValueError:
                continue  # of no known type: an operator that needs it will say so
            if attribute.type == AttributeProto.TENSOR:
                value = self.array(value)
            elif attribute.type == AttributeProto.STRING:
                value = value.decode(errors="replace")
            elif attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
                value = list(value)
            found[name] = value
        return found, bodies

    def array(self, tensor: Any) -> np.ndarray:
        """Convert a tensor to an array; float64 becomes float32, in which JAX computes.

        Parameters
        ----------
        tensor : TensorProto
            The tensor.

        Returns
        -------
        np.ndarray
            Its values.

        Raises
        ------
        UsageError
            When it holds text.
        CorruptFile
            When its data are damaged.
        """
        from onnx import TensorProto, numpy_helper

        called = printable(text(tensor.name)) or "a tensor"
        try:
            if tensor.data_location == TensorProto.EXTERNAL:
                self.data.load(tensor)
            if min(tensor.dims, default=0) < 0:
                raise ValueError(f"its shape is {list(tensor.dims)}")
            array = np.asarray(numpy_helper.to_array(tensor))
            if array.dtype.kind not in "OSU":
                return array.astype(np.float32) if array.dtype == np.float64 else array
        except UsageError:
            raise
        except Exception as error:  # whatever malformed data may raise in a library
            raise CorruptFile(f"{self.path} is damaged: {called}: {' '.join(str(error).split())}") from None
        raise UsageError(f"{self.path}: {called} holds text, not numbers")


def _constant(node: OnnxNode) -> np.ndarray | None:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for key, value in node.attributes.items():
        if key == "value" and node.outputs:
            return np.asarray(value)
        if key in kinds and node.outputs:
            return np.asarray(value, kinds[key])
    return None
