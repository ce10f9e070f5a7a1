"""Preparation of a model before it is read: functions inlined, old opsets converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from advbench.core.errors import UsageError
from advbench.onnx.nodes import printable, text

OLDEST: Final = 7  # opset whose meanings the operators here have
NODES: Final = 20_000  # that a model may have, functions inlined


def inlined(model: Any, path: Path) -> Any:
    """Replace each call of a function that the model defines by the nodes of the function.

    Parameters
    ----------
    model : ModelProto
        The model.
    path : Path
        The file, for messages.

    Returns
    -------
    ModelProto
        Without functions.

    Raises
    ------
    UsageError
        When a function calls itself, directly or not, or there would be more than 20,000 nodes.
    """
    if not model.functions:
        return model
    from onnx import inliner

    functions = {(text(f.domain), text(f.name)): f for f in model.functions}
    sizes: dict[Any, int] = {}
    for key in functions:
        _size(key, functions, sizes, (), path)
    if (count := _count(model.graph.node, sizes)) > NODES:
        raise UsageError(
            f"{path} has {count} nodes after its functions are inlined; more than {NODES} are not supported"
        )
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # whatever onnx says of functions that don't fit
        raise UsageError(f"{path}: its functions can't be inlined: {_line(error)}") from None


def _size(key: Any, functions: dict[Any, Any], sizes: dict[Any, int], above: tuple[Any, ...], path: Path) -> int:
    """Count the nodes of a function, those of the functions that it calls included."""
    if key in above or len(above) > 100:
        raise UsageError(f"{path}: its function {printable(key[1])!r} calls itself")
    if key not in sizes:
        for called in _calls(functions[key].node):
            if called in functions:
                _size(called, functions, sizes, (*above, key), path)
        sizes[key] = _count(functions[key].node, sizes)
    return sizes[key]


def _nodes(nodes: Any) -> Any:
    """Yield nodes, and those of inner graphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g.node)


def _calls(nodes: Any) -> set[Any]:
    return {(text(node.domain), text(node.op_type)) for node in _nodes(nodes)}


def _count(nodes: Any, sizes: dict[Any, int]) -> int:
    return sum(sizes.get((text(node.domain), text(node.op_type)), 1) for node in _nodes(nodes))


def converted(model: Any, opset: int, path: Path) -> Any:
    """Convert a model of an opset before 7 to opset 7, by onnx's own converter.

    Parameters
    ----------
    model : ModelProto
        The model.
    opset : int
        Its opset.
    path : Path
        The file, for messages.

    Returns
    -------
    ModelProto
        Of opset 7.

    Raises
    ------
    UsageError
        When the converter fails.
    """
    from onnx import ModelProto, version_converter

    fixed = ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim in value.type.tensor_type.shape.dim:  # the converter knows whole numbers only
            dim.dim_value = max(dim.dim_value, 1)
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        new = version_converter.convert_version(fixed, OLDEST)
        del new.graph.input[:]
        new.graph.input.extend(model.graph.input)
        return new
    except Exception as error:  # whatever onnx says of what it can't convert
        raise UsageError(
            f"{path} has opset {opset}, which onnx can't convert to {OLDEST} ({_line(error)}); "
            "export it again with a newer opset"
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
