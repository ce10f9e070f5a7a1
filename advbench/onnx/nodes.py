"""The nodes of an ONNX graph and of graphs within it, as plain Python, every name in them being one value's alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from advbench.core.errors import CorruptFile, UsageError
from advbench.onnx.external import External

ONNX_DOMAINS: Final = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Body:
    """A branch, or what is done in a loop: a graph that also sees the values around it."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation: arrays of these names in, arrays of those names out; an absent input has an empty name."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int
    bodies: Mapping[str, Body] = field(default_factory=dict)

    @property
    def called(self) -> str:
        """The node as errors name it."""
        return f"node {printable(self.name)!r} ({printable(self.op)})"

    def reads(self) -> set[str]:
        """Names that it may read: its inputs, and all that its bodies speak of."""
        found = set(self.inputs)
        for body in self.bodies.values():
            found.update(body.outputs, *(node.reads() for node in body.nodes))
        return found


def every(nodes: Iterable[Node]) -> Iterator[Node]:
    """All nodes, those within others too."""
    for node in nodes:
        yield node
        for body in node.bodies.values():
            yield from every(body.nodes)


def printable(name: str) -> str:
    """A name out of a file, fit for one line."""
    return "".join(c if c.isprintable() else "?" for c in name[:80])


def text(name: str | bytes) -> str:
    """A name out of a file; where it is no UTF-8, protobuf gives bytes."""
    return name if isinstance(name, str) else name.decode(errors="replace")


class Reader:
    """Reads graphs, one within another.

    `arrays` gathers initializers and constants, of inner graphs too; `data` reads what lies in other files.
    """

    def __init__(self, path: Path, opset: int, graph: Any):
        self.path, self.opset, self.data = path, opset, External(path)
        self.arrays: dict[str, np.ndarray] = {}
        self._taken = {text(name) for node in graph.node for name in node.output}
        self._taken |= {text(value.name) for value in (*graph.input, *graph.initializer)}

    def read(
        self, graph: Any, scope: Mapping[str, str], *, inner: bool = False
    ) -> tuple[tuple[Node, ...], dict[str, str]]:
        """Nodes in order, and what the graph's names have become.

        Names of an inner graph that another graph has too are changed; those of the values around it are in `scope`.
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
    ) -> Node:
        op, domain = text(proto.op_type), text(proto.domain)
        return Node(
            op=op if domain in ONNX_DOMAINS else f"{domain}::{op}",
            name=text(proto.name) or f"{op} that gives {', '.join(map(text, proto.output))}",
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
        """Settings by name, and graphs by name."""
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
        """The array of a tensor; float64, which JAX computes in float32, becomes that."""
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


def _constant(node: Node) -> np.ndarray | None:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for key, value in node.attributes.items():
        if key == "value" and node.outputs:
            return np.asarray(value)
        if key in kinds and node.outputs:
            return np.asarray(value, kinds[key])
    return None
