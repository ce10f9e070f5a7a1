"""Models written by `jax.export`: a compiled function with its weights, without Python code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, export
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from jax.interpreters import mlir

from advbench.core.choice import row_shape
from advbench.core.errors import CorruptFile, UsageError
from advbench.core.model import Model

SUFFIX: Final = ".jaxexport"
DIGEST: Final = ".sha256"  # beside the file, as `sha256sum` writes it
AGAIN: Final = "export it again with export.export(jax.jit(f))(images).serialize(vjp_order=1)"

HARMLESS: Final = {
    "Sharding",
    "SPMDFullToShardShape",
    "SPMDShardToFullShape",
    "annotate_device_placement",
    "cu_threefry2x32_ffi",
    "shape_assertion",
    "stablehlo.dynamic_reduce_window",
    "stablehlo.dynamic_rng_bit_generator",
    "stablehlo.dynamic_top_k",
}
"""Custom calls that a classifier may need; any other could reach into this process."""


class Exported(NamedTuple):
    """The content of an exported file."""

    predict: Model
    shape: tuple[int, int, int] | None  # (H, W, C), where the export fixed it
    classes: int | None  # where there is one output
    digest: str


def load(path: Path) -> Exported:
    """Read a model that was exported with its gradient, for images [B, H, W, C] float32 of any or of a fixed B.

    Parameters
    ----------
    path : Path
        The bytes of `jax.export.Exported.serialize(vjp_order=1)`. A file `path` + ".sha256" beside it, as `sha256sum`
        writes it, must agree.

    Returns
    -------
    Exported
        The model and its digest.

    Raises
    ------
    UsageError
        When there is no such file, or no flatbuffers package to read it; when it has no gradient, is for other devices,
        or is not a function from images to logits.
    CorruptFile
        When the digest differs, or the bytes are not an export of this kind.
    """
    blob = _bytes(path)
    digest = hashlib.sha256(blob).hexdigest()
    _check_digest(path, digest)
    try:
        exported = export.deserialize(bytearray(blob))
        calls = set(_custom_calls(exported))
        has_gradient = exported.has_vjp()
        if has_gradient:
            calls |= set(_custom_calls(exported.vjp()))
    except ImportError as error:
        raise UsageError(f"{path} needs the package flatbuffers: pip install 'advbench[export]'") from error
    except Exception as error:  # whatever damaged bytes make of a reader
        raise CorruptFile(f"{path} is damaged, or not a jax.export file ({type(error).__name__})") from error
    if strange := sorted(calls - HARMLESS):
        raise UsageError(f"{path} calls {', '.join(strange)}: only plain array operations are run from a file")
    if not has_gradient:
        raise UsageError(f"{path} was exported without its gradient: {AGAIN}")
    return _checked(path, exported, digest)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _check_digest(path: Path, actual: str) -> None:
    beside = path.with_name(path.name + DIGEST)
    if not beside.exists():
        return
    expected = (_bytes(beside).decode("ascii", "replace").split() or ["nothing"])[0]
    if expected != actual:
        raise CorruptFile(f"{path} is damaged or replaced: sha256 expected {expected[:64]}, actual {actual}")


def _custom_calls(exported: Any) -> Iterator[str]:
    """Yield the names of custom calls: those that are not operations of StableHLO."""
    with mlir.make_ir_context() as context:
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
        found: list[str] = []

        def look(operation: Any) -> Any:
            if operation.name == "stablehlo.custom_call":
                found.append(ir.StringAttr(operation.attributes["call_target_name"]).value)
            return ir.WalkResult.ADVANCE

        module.operation.walk(look)
    yield from found


def _checked(path: Path, exported: Any, digest: str) -> Exported:
    """Refuse anything but a classifier for these devices."""
    takes, gives = exported.in_avals, exported.out_avals
    if len(takes) != 1 or not 2 <= len(takes[0].shape) <= 4 or takes[0].dtype != jnp.float32:
        raise UsageError(f"{path} takes {_kinds(takes)}, not images float32[B,H,W,C]")
    rows = [row_shape(out.shape) for out in gives if out.dtype.kind in "fV"]
    widths = [row[1] for row in rows if len(row) == 2]
    if not widths:
        raise UsageError(f"{path} gives {_kinds(gives)}, not logits float32[B,K]")
    if not all(isinstance(width, int) for width in widths):
        raise UsageError(f"{path} does not fix the number of classes")
    classes = widths[0] if len(gives) == 1 and widths[0] > 1 else None  # one logit may mean two classes
    if (here := jax.default_backend()) not in exported.platforms:
        platforms = ", ".join(exported.platforms)
        raise UsageError(f'{path} is for {platforms}, this is {here}: export it with platforms=["cpu", "cuda"]')
    batch, *image = takes[0].shape
    shape = tuple(image) if len(image) == 3 and all(isinstance(side, int) for side in image) else None
    predict = jax.tree_util.Partial(exported.call if not isinstance(batch, int) else _in_batches(exported, batch))
    return Exported(predict, shape, classes, digest)


def _kinds(avals: Any) -> str:
    return ", ".join(f"{a.dtype}[{','.join(map(str, a.shape))}]" for a in avals) or "nothing"


def _in_batches(exported: Any, size: int) -> Any:
    """Make a function of any number of images from one of a fixed number."""

    def predict(x: Array) -> Any:
        rows = -(-len(x) // size) * size
        padded = jnp.resize(x, (rows, *x.shape[1:]))
        outputs = jax.lax.map(exported.call, padded.reshape(-1, size, *x.shape[1:]))
        return jax.tree.map(lambda y: y.reshape(rows, *y.shape[2:])[: len(x)], outputs)

    return predict
