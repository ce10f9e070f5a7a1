"""Trained networks on disk: `model.safetensors`, and the manifest `model.json` with its digest.

Nothing is ever unpickled. The manifest is written last, each file beside its place and then renamed. So after a kill at
any moment the pair either verifies or is refused.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
from flax import nnx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as pack_tensors

from advbench.core.errors import CorruptFile, UsageError, first_fault
from advbench.core.files import write
from advbench.models.architecture import Architecture, Code, find
from advbench.models.trained_code import remembered

WEIGHTS, MANIFEST = "model.safetensors", "model.json"
Side = Annotated[int, Field(gt=0, le=4096)]


class Manifest(BaseModel):
    """The content of `model.json`; unknown fields are refused.

    `code` is the user's code that makes the network, if `architecture` is not in `MODELS`; `sha256` is the digest of
    the weights file; `record` is free: how the network was trained, by what command, how well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    architecture: str
    shape: tuple[Side, Side, Side]
    classes: Annotated[int, Field(ge=2, le=1_000_000)]
    code: Code | None = None
    dataset: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    record: dict[str, Any] = {}

    @property
    def digest(self) -> str:
        """One sha256 for the network: its weights and the architecture that reads them."""
        made_by = self.code.digest if self.code else self.architecture
        return hashlib.sha256(f"{made_by}\n{self.sha256}".encode()).hexdigest()


def pack(
    module: nnx.Module,
    *,
    architecture: str | Architecture,
    shape: tuple[int, int, int],
    classes: int,
    dataset: str | None = None,
    record: Mapping[str, Any] | None = None,
) -> tuple[bytes, Manifest]:
    """Make the bytes of the weights file, and its manifest.

    Parameters
    ----------
    module, architecture, shape, classes, dataset, record
        As for `save`.

    Returns
    -------
    bytes
        Content of `model.safetensors`.
    Manifest
        Content of `model.json`.
    """
    made = find(architecture)
    weights = pack_tensors({name: np.asarray(value.get_value()) for name, value in variables(module).items()})
    manifest = Manifest(
        architecture=made.name,
        shape=shape,
        classes=classes,
        code=made.code,
        dataset=dataset,
        sha256=hashlib.sha256(weights).hexdigest(),
        record=dict(record or {}),
    )
    return weights, manifest


def save(
    folder: Path,
    module: nnx.Module,
    *,
    architecture: str | Architecture,
    shape: tuple[int, int, int],
    classes: int,
    dataset: str | None = None,
    record: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write a network into a folder, which is made if needed.

    Parameters
    ----------
    folder : Path
        Gets `model.safetensors` and `model.json`; existing ones are replaced.
    module : nnx.Module
        A network that `architecture` made for `shape` and `classes`. Parameters and batch statistics are stored, the
        state of random generators is not.
    architecture, shape, classes, dataset
        What is needed to build the network again, and the data set it was trained on.
    record : mapping, optional
        Anything JSON can hold.

    Returns
    -------
    Manifest
        As written.

    Raises
    ------
    OSError
        When writing fails; the former files are kept whole.
    """
    given: Any = {"shape": shape, "classes": classes, "dataset": dataset, "record": record}
    weights, manifest = pack(module, architecture=architecture, **given)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / WEIGHTS, weights)
    ours = {"code"} if manifest.code is None else None
    write(folder / MANIFEST, manifest.model_dump_json(indent=2, exclude=ours).encode() + b"\n")
    return manifest


def load(path: Path, arch: str | Callable[..., Any] | Architecture | None = None) -> tuple[nnx.Module, Manifest]:
    """Read a network back.

    Parameters
    ----------
    path : Path
        A folder with `model.safetensors` and `model.json`, or a `.safetensors` file with `model.json` beside it.
    arch : str or callable, optional
        Architecture of the network; by default that of the manifest: a name, or code that this user trained with here.

    Returns
    -------
    nnx.Module, Manifest
        The network in training mode (see `nn.frozen.freeze`), and its manifest.

    Raises
    ------
    CorruptFile
        When the sha256 differs (both are named), the file is not in safetensors format, or arrays are missing,
        unexpected or of another shape or type (all are named).
    UsageError
        When a file is missing, the architecture is unknown, or its code is missing, changed or not trusted here.
    """
    weights_path = path / WEIGHTS if path.is_dir() else path
    manifest = read_manifest(weights_path.with_name(MANIFEST))
    arrays = read_arrays(weights_path, manifest.sha256)
    if arch is not None:
        made = find(arch)
    else:
        made = remembered(manifest.code, path) if manifest.code else find(manifest.architecture)
    module = blank(made, manifest.shape, manifest.classes)
    _fill(module, arrays, weights_path, made.name)
    return module, manifest


def read_arrays(path: Path, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Read a `.safetensors` file.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str, optional
        Expected digest, in hexadecimal digits.

    Returns
    -------
    dict
        Arrays by dotted path.

    Raises
    ------
    UsageError
        When the file can't be read.
    CorruptFile
        When the digest differs, or the file is not in safetensors format.
    """
    weights = _read(path)
    actual = hashlib.sha256(weights).hexdigest()
    if sha256 is not None and actual != sha256:
        raise CorruptFile(f"{path} is damaged or replaced: sha256 expected {sha256}, actual {actual}")
    try:
        arrays: dict[str, np.ndarray] = parse_tensors(weights)
    except SafetensorError as error:
        raise CorruptFile(f"{path} is not a safetensors file: {error}") from error
    return arrays


def read_manifest(path: Path) -> Manifest:
    """Read `model.json`.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Manifest
        Its content.

    Raises
    ------
    UsageError
        When the file can't be read.
    CorruptFile
        When it is not valid.
    """
    text = _read(path)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise CorruptFile(f"{path} is not a model manifest: {first_fault(error)}") from error


def variables(module: nnx.Module) -> dict[str, nnx.Variable[Any]]:
    """List everything that is learned; the random state of dropout is not.

    Parameters
    ----------
    module : nnx.Module
        The network.

    Returns
    -------
    dict
        Variables by dotted path.
    """
    learned = nnx.state(module, nnx.Not(nnx.RngState))
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(learned)}


def blank(made: Architecture, shape: tuple[int, int, int], classes: int) -> nnx.Module:
    """Build the network without drawing its weights; only the random state of dropout is real.

    Parameters
    ----------
    made : Architecture
        The architecture.
    shape : tuple of int
        Image shape (H, W, C).
    classes : int
        Number of logits.

    Returns
    -------
    nnx.Module
        With shapes and types in place of weights.

    Raises
    ------
    UsageError
        When the user's code fails, or does not make a network for these images.
    """
    module = made.abstract(shape, classes)
    if not nnx.to_flat_state(nnx.state(module, nnx.RngState)):
        return module
    nnx.update(module, jax.jit(lambda: nnx.state(made.create(shape, classes, 0), nnx.RngState))())
    return module


def _fill(module: nnx.Module, arrays: dict[str, np.ndarray], path: Path, architecture: str) -> None:
    wanted = variables(module)
    faults = [f"missing {name}" for name in sorted(wanted.keys() - arrays.keys())]
    faults += [f"unexpected {name}" for name in sorted(arrays.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & arrays.keys()):
        has, needs = arrays[name], wanted[name].get_value()
        if has.shape != needs.shape or has.dtype != needs.dtype:
            faults.append(f"{name} is {has.dtype}{list(has.shape)}, not {needs.dtype}{list(needs.shape)}")
    if faults:
        raise CorruptFile(f"{path} does not fit {architecture}: {'; '.join(faults)}")
    for name, variable in wanted.items():
        variable.set_value(jax.device_put(arrays[name]))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
