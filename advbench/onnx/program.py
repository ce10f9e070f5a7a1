"""An ONNX file as plain Python: nodes in order, constant arrays, one input, its outputs.

Files may come from anyone. Nothing in them chooses what code runs, and no path in them leads out of their folder.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from advbench.core.choice import row_shape
from advbench.core.errors import CorruptFile, UsageError
from advbench.onnx.functions import converted, inlined
from advbench.onnx.nodes import ONNX_DOMAINS, NodeReader, OnnxNode, printable, text

LIMIT: Final = 2**31 - 1  # bytes; protobuf can't read more either, and a small .gz may unpack to anything
OPSETS: Final = range(7, 26)  # those whose meaning the operators here have
FLOATS: Final = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True, eq=False)
class Program:
    """The content of an ONNX file.

    Attributes
    ----------
    nodes : tuple of OnnxNode
        Nodes in order.
    arrays : dict
        Constant arrays by name.
    input : str
        Name of the images.
    shape : tuple of int or None
        Shape of the input; None for an open side.
    dtype : str
        Type of the input.
    outputs : tuple of str
        Outputs that may be logits.
    digest : str
        sha256 of everything read.
    """

    nodes: tuple[OnnxNode, ...]
    arrays: dict[str, np.ndarray]
    input: str
    shape: tuple[int | None, ...]
    dtype: str
    outputs: tuple[str, ...]
    digest: str


def read(path: Path) -> bytes:
    """Read the bytes of a model file; `.gz` is unpacked.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    UsageError
        When it can't be read, or holds more than `LIMIT` bytes.
    CorruptFile
        When it is not a gzip file, or damaged.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content: bytes = file.read(LIMIT + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise CorruptFile(f"{path} is not a gzip file, or cut short: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > LIMIT:
        raise UsageError(f"{path} holds more than {LIMIT} bytes, the most that an ONNX file can have")
    return content


def parse(path: Path) -> Program:
    """Read an ONNX file, with the data that it keeps in other files.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Program
        Its content.

    Raises
    ------
    UsageError
        When the `onnx` package is missing; when the file can't be read or keeps data outside its folder; when it is not
        an image classifier in float with one input.
    CorruptFile
        When it is not an ONNX file, or damaged.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise UsageError("ONNX files need the package onnx: pip install 'advbench[onnx]'") from None
    content = read(path)
    try:
        graph = (model := onnx.load_model_from_string(content)).graph
    except (DecodeError, ValueError):
        raise CorruptFile(f"{path} is not an ONNX file, or it is damaged") from None
    if not graph.node:
        raise CorruptFile(f"{path} is not an ONNX file, or it is damaged: it holds no graph")
    opset = max((o.version for o in model.opset_import if o.domain in ONNX_DOMAINS), default=0)
    if 0 < opset < OPSETS[0]:
        model, opset = converted(model, opset, path), OPSETS[0]
    if opset not in OPSETS:
        raise UsageError(f"{path} has opset {opset}; export it with one from {OPSETS[0]} to {OPSETS[-1]}")
    graph = inlined(model, path).graph
    reader = NodeReader(path, opset, graph)
    nodes, _ = reader.read(graph, {})
    arrays = reader.arrays
    name, shape, dtype = _input(graph, arrays, path)
    digest = hashlib.sha256(content + reader.data.digest.digest()).hexdigest()
    return Program(nodes, arrays, name, shape, dtype, _outputs(graph, path), digest)


def _input(graph: Any, arrays: dict[str, np.ndarray], path: Path) -> tuple[str, tuple[int | None, ...], str]:
    from onnx import helper

    inputs = [value for value in graph.input if text(value.name) not in arrays]
    if len(inputs) != 1:
        names = ", ".join(printable(text(value.name)) for value in inputs[:5]) or "none"
        raise UsageError(f"{path} should have one input, the images; it has {len(inputs)}: {names}")
    kind = inputs[0].type.tensor_type
    try:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    except KeyError:
        dtype = "unknown"
    if dtype not in FLOATS:
        raise UsageError(
            f"{path} takes {dtype} input; attacks need float: export it without the conversion from pixels"
        )
    shape = _sides(kind)
    if not kind.HasField("shape"):  # the data will tell
        shape = (None,) * 4
    if len(shape) not in (2, 3, 4):
        raise UsageError(f"{path} takes input of {len(shape)} axes; images have 4, grey images may have 3, rows 2")
    return text(inputs[0].name), shape, "float32" if dtype == "float64" else dtype


def _sides(kind: Any) -> tuple[int | None, ...]:
    """Return the declared shape of a tensor, with None for an open side."""
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)


def _outputs(graph: Any, path: Path) -> tuple[str, ...]:
    """Return all outputs but those declared as something else than logits: integers, or not a row for each image."""
    from onnx import TensorProto, helper

    def fits(value: Any) -> bool:
        kind = value.type.tensor_type
        floats = {helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in FLOATS if name != "bfloat16"}
        typed = kind.elem_type in (0, TensorProto.BFLOAT16, *floats)
        return typed and (not kind.HasField("shape") or len(row_shape(_sides(kind))) in (1, 2))

    names = tuple(text(value.name) for value in graph.output)
    if not names:
        raise UsageError(f"{path} has no output")
    return names if len(names) == 1 else tuple(text(value.name) for value in graph.output if fits(value)) or names
