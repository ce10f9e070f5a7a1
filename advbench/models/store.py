"""A trained network on disk: `model.safetensors` and the manifest `model.json` that vouches for it.

Nothing is ever unpickled. The manifest is written last, each file beside its place and then renamed, so a kill at any
moment leaves a pair that either verifies or is refused.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as pack_tensors

from advbench.core.errors import CorruptFile, UsageError, first_fault
from advbench.core.files import write
from advbench.nn import create

WEIGHTS, MANIFEST = "model.safetensors", "model.json"
Side = Annotated[int, Field(gt=0, le=4096)]


class Manifest(BaseModel):
    """What `model.json` holds; unknown fields are refused.

    `sha256` is that of the weights file; `record` is free: how the network was trained, by what command, how well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    architecture: str
    shape: tuple[Side, Side, Side]
    classes: Annotated[int, Field(ge=2, le=1_000_000)]
    dataset: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    record: dict[str, Any] = {}

    @property
    def digest(self) -> str:
        """One sha256 for the network: its weights and the architecture that reads them."""
        return hashlib.sha256(f"{self.architecture}\n{self.sha256}".encode()).hexdigest()


def save(
    folder: Path,
    module: nnx.Module,
    *,
    architecture: str,
    shape: tuple[int, int, int],
    classes: int,
    dataset: str | None = None,
    record: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write a network into `folder`, which is made if need be.

    Parameters
    ----------
    folder : Path
        Gets `model.safetensors` and `model.json`; older ones are replaced.
    module : nnx.Module
        A network that `models.create(architecture, shape=shape, classes=classes, ...)` made. Parameters and batch
        statistics are stored, the state of random generators is not.
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
        Nothing is left half written: the former files stand.
    """
    weights = pack_tensors({name: np.asarray(value.get_value()) for name, value in _variables(module).items()})
    manifest = Manifest(
        architecture=architecture,
        shape=shape,
        classes=classes,
        dataset=dataset,
        sha256=hashlib.sha256(weights).hexdigest(),
        record=dict(record or {}),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / WEIGHTS, weights)
    write(folder / MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest


def load(path: Path) -> tuple[nnx.Module, Manifest]:
    """Read a network back.

    Parameters
    ----------
    path : Path
        A folder with `model.safetensors` and `model.json`, or a `.safetensors` file with `model.json` beside it.

    Returns
    -------
    nnx.Module, Manifest
        The network in training mode (see `defenses.frozen.freeze`), and its manifest.

    Raises
    ------
    CorruptFile
        The sha256 differs (both are named), the file is no safetensors, or arrays are missing, unexpected or of
        another shape or type (all are named).
    UsageError
        A file is missing, or the architecture is unknown.
    """
    weights_path = path / WEIGHTS if path.is_dir() else path
    manifest = read_manifest(weights_path.with_name(MANIFEST))
    weights = _read(weights_path)
    actual = hashlib.sha256(weights).hexdigest()
    if actual != manifest.sha256:
        raise CorruptFile(f"{weights_path} is damaged or foreign: sha256 expected {manifest.sha256}, actual {actual}")
    try:
        arrays = parse_tensors(weights)
    except SafetensorError as error:
        raise CorruptFile(f"{weights_path} is not a safetensors file: {error}") from error
    module = _blank(manifest)
    _fill(module, arrays, weights_path, manifest.architecture)
    return module, manifest


def read_manifest(path: Path) -> Manifest:
    """Read `model.json`; raises UsageError when there is none and CorruptFile when it is not valid."""
    text = _read(path)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise CorruptFile(f"{path} is not a model manifest: {first_fault(error)}") from error


def _variables(module: nnx.Module) -> dict[str, nnx.Variable[Any]]:
    """Give everything that is learned, by dotted path; dropout's random state is not."""
    learned = nnx.state(module, nnx.Not(nnx.RngState))
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(learned)}


def _blank(manifest: Manifest) -> nnx.Module:
    """Build the network without drawing its weights; only dropout's random state is real."""

    def build() -> nnx.Module:
        return create(manifest.architecture, shape=manifest.shape, classes=manifest.classes, seed=0)

    module: nnx.Module = nnx.eval_shape(build)
    nnx.update(module, jax.jit(lambda: nnx.state(build(), nnx.RngState))())
    return module


def _fill(module: nnx.Module, arrays: dict[str, np.ndarray], path: Path, architecture: str) -> None:
    wanted = _variables(module)
    faults = [f"missing {name}" for name in sorted(wanted.keys() - arrays.keys())]
    faults += [f"unexpected {name}" for name in sorted(arrays.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & arrays.keys()):
        has, needs = arrays[name], wanted[name].get_value()
        if has.shape != needs.shape or has.dtype != needs.dtype:
            faults.append(f"{name} is {has.dtype}{list(has.shape)}, not {needs.dtype}{list(needs.shape)}")
    if faults:
        raise CorruptFile(f"{path} does not fit {architecture}: {'; '.join(faults)}")
    for name, variable in wanted.items():
        variable.set_value(jnp.asarray(arrays[name]))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
