"""Models by name: a run directory, a weights file, a released model, a remote model, or the user's code."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from advbench.core import devices
from advbench.core.ambient import own_settings
from advbench.core.errors import UsageError, unknown
from advbench.core.loaded import LoadedModel
from advbench.core.names import plain
from advbench.core.preprocess import (
    AS_IS,
    OwnPreprocessing,
    Preprocess,
    prepared,
)
from advbench.models import exported, robustbench, store
from advbench.models.foreign import kind_of
from advbench.models.users import users_model
from advbench.nn.frozen import freeze
from advbench.remote import is_target, open_target

RELEASED = Path(__file__).parent / "released"
EXPECTED = f"expected a directory with {store.MANIFEST}, a .safetensors, .onnx or .jaxexport file, or file.py:factory"


@own_settings()
def load_model(
    spec: str,
    preprocess: Preprocess = AS_IS,
    weights: Path | None = None,
    *,
    arch: str | Callable[..., Any] | None = None,
) -> LoadedModel:
    """Load a model by the name that the command line takes.

    Parameters
    ----------
    spec : str
        A directory holding `model.json`; a `.safetensors` file with `model.json` beside it; an `.onnx`, `.onnx.gz` or
        `.jaxexport` file; the name of a released model; `robustbench:NAME`; the URL of a remote model or a
        `.target.json` file, as `advbench.remote.open_target` takes them; or `package.module:factory` or
        `file.py:factory`, where `factory()` returns what `adapt` takes: a Flax, PyTorch or Keras model, or a callable
        from images [B, H, W, C] in [0, 1] to logits [B, K]. This runs the user's code.
    preprocess : Preprocess
        Applied to images before the network sees them; a stored model has its own.
    weights : Path, optional
        Weights for the PyTorch or Keras model that the user's code returned; or the run directory or `.safetensors`
        file of a network that was trained with this code.
    arch : str or callable, optional
        The code that a run directory was trained with, if it is not found by itself: `file.py:factory`, or the class or
        function.

    Returns
    -------
    LoadedModel
        The model, its name, digest and record.

    Raises
    ------
    UsageError
        When there is no such model, the user's code fails, or what it returns is not a model.
    CorruptFile
        When the files are damaged.
    DataUnavailable
        When a download fails.

    Examples
    --------
    >>> import advbench
    >>> model = advbench.load_model("mnist-pgd")
    >>> model.shape, model.classes, model.dataset
    ((28, 28, 1), 10, 'mnist')
    """
    if is_target(spec):
        if weights:
            raise UsageError("--weights is for file.py:factory and module:factory; a target has its own")
        return replace(open_target(spec, preprocess), source=spec)
    found = _find(spec, preprocess, weights, arch)
    return replace(found, source=spec, predict=devices.replicated(found.predict))


def _find(
    spec: str, preprocess: Preprocess, weights: Path | None, arch: str | Callable[..., Any] | None
) -> LoadedModel:
    path = Path(spec)
    where, colon, factory = spec.rpartition(":")
    is_code = colon and where and factory.isidentifier() and where + colon != robustbench.PREFIX
    if path.suffix == ".py" and (told := kind_of(path)):
        raise UsageError(told)
    if weights and not is_code:
        raise UsageError(f"--weights is for file.py:factory and module:factory; {spec} has its own")
    stored, arch = (weights, spec) if weights and _is_run(weights) else (path, arch)
    if stored.is_dir() or stored.suffix == ".safetensors":
        beside = (stored if stored.is_dir() else stored.parent) / store.MANIFEST
        if not beside.exists() and (told := kind_of(stored)):
            raise UsageError(told)
        return _stored(stored, preprocess, arch)
    if (RELEASED / (name := meant(spec)) / store.MANIFEST).is_file():
        return _stored(RELEASED / name, preprocess)
    if path.name.endswith((".onnx", ".onnx.gz")):
        from advbench import onnx

        return onnx.load(path, preprocess)
    if is_code:
        return _users(where, factory, preprocess, weights)
    if spec.startswith(robustbench.PREFIX):
        return _zoo(spec, preprocess)
    if path.suffix == exported.SUFFIX:
        return _exported(path, preprocess)
    if told := kind_of(path):
        raise UsageError(told)
    if path.is_file():
        raise UsageError(f"{spec} is not a model of a known kind: {EXPECTED}")
    if path.parent != Path():
        raise UsageError(f"no model at {spec}: {EXPECTED}")
    raise UsageError(f"{unknown('model', spec, released())}; or a run directory, a .safetensors file, file.py:factory")


def meant(spec: str) -> str:
    """Return the released model that a text names, whatever its case and punctuation.

    Parameters
    ----------
    spec : str
        The name as typed.

    Returns
    -------
    str
        Name of a released model, or `spec` itself.
    """
    return next((name for name in released() if plain(name) == plain(spec) and "/" not in spec), spec)


def released() -> list[str]:
    """List the released models.

    Returns
    -------
    list of str
        Sorted names.
    """
    return sorted(manifest.parent.name for manifest in RELEASED.glob(f"*/{store.MANIFEST}"))


def _users(where: str, factory: str, preprocess: Preprocess, weights: Path | None) -> LoadedModel:
    made = users_model(where, factory, weights)
    model = LoadedModel(made.name, made.predict, None, None, None, made.digest, made.record)
    return prepared(model, preprocess, made.layouts)


def _exported(path: Path, preprocess: Preprocess) -> LoadedModel:
    made = exported.load(path)
    shape = None if preprocess.layout else made.shape
    return prepared(LoadedModel(path.stem, made.predict, shape, made.classes, None, made.digest), preprocess)


def _zoo(spec: str, preprocess: Preprocess) -> LoadedModel:
    if preprocess:
        raise OwnPreprocessing(f"{spec} normalises its input itself: leave out --input-layout, --mean and --std")
    made = robustbench.load(spec)
    model = LoadedModel(made.name, made.predict, None, None, made.dataset, made.digest, made.record)
    return prepared(model, preprocess, ("nchw",))


def _is_run(weights: Path) -> bool:
    """Return whether weights are a network stored by advbench, with its manifest."""
    return (weights if weights.is_dir() else weights.parent).joinpath(store.MANIFEST).is_file()


def _stored(path: Path, preprocess: Preprocess, arch: str | Callable[..., Any] | None = None) -> LoadedModel:
    if preprocess:
        raise OwnPreprocessing(f"{path} normalises its input itself: leave out --input-layout, --mean and --std")
    module, manifest = store.load(path, arch)
    folder = path if path.is_dir() else path.parent
    return LoadedModel(
        name=folder.resolve().name,
        predict=freeze(module),
        shape=manifest.shape,
        classes=manifest.classes,
        dataset=manifest.dataset,
        digest=manifest.digest,
        record=manifest.record,
    )
