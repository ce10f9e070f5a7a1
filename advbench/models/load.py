"""One way to name a model: a run directory, a weights file, a released model, or the user's own code."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from advbench.attacks.base import Model
from advbench.defenses.frozen import freeze
from advbench.errors import UsageError, unknown
from advbench.models import store
from advbench.models.fingerprint import fingerprint
from advbench.models.preprocess import AS_IS, OwnPreprocessing, Preprocess, prepared

if TYPE_CHECKING:
    from advbench.evaluation.result import Flag

RELEASED = Path(__file__).parent / "released"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be attacked.

    Attributes
    ----------
    name : str
        Short, for tables.
    predict : Model
        A pytree, in evaluation mode: images [B, H, W, C] float32 in [0, 1] -> logits [B, K].
    shape : tuple of int or None
        Image shape (H, W, C); None where the user's code does not say.
    classes : int or None
        Number of logits K, likewise.
    dataset : str or None
        What it was trained on, likewise.
    digest : str
        sha256 of architecture and weights (of the user's code: its file and every array it holds); a resumed
        evaluation must meet the same one.
    record : dict
        How it was trained, from its manifest.
    source : str
        What named it, so that it can be loaded again.
    preprocess : Preprocess
        What `predict` does to images first; what was declared, the layout filled in.
    layouts : tuple of str
        Layouts that the network's input may have, where none was declared: see `layout.find_layout`.
    compare : callable or None
        For a translated model, `compare(model, images)` compares it with the runtime that it was made for.
    """

    name: str
    predict: Model
    shape: tuple[int, int, int] | None
    classes: int | None
    dataset: str | None
    digest: str
    record: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    preprocess: Preprocess = AS_IS
    layouts: tuple[str, ...] = ()
    compare: Callable[["LoadedModel", Any], "Flag | None"] | None = None


def load_model(spec: str, preprocess: Preprocess = AS_IS) -> LoadedModel:
    """Load the model that a command line names.

    Parameters
    ----------
    spec : str
        A directory holding `model.json`; a `.safetensors` file with `model.json` beside it; an `.onnx` or `.onnx.gz`
        file; the name of a released model; or `package.module:factory` or `file.py:factory`, where `factory()` returns
        a Flax NNX module, a callable from images [B, H, W, C] in [0, 1] to logits [B, K], or a pair `(apply, params)`
        with `apply(params, images)`, as Flax Linen has it. This runs the user's code.
    preprocess : Preprocess
        What to do to images before the network sees them; a stored model does it itself.

    Returns
    -------
    LoadedModel

    Raises
    ------
    UsageError
        There is no such model, the user's code fails, or what it returns is not callable.
    CorruptFile
        The files are damaged.
    """
    return replace(_find(spec, preprocess), source=spec)


def _find(spec: str, preprocess: Preprocess) -> LoadedModel:
    path = Path(spec)
    if path.is_dir() or path.suffix == ".safetensors":
        return _stored(path, preprocess)
    if (RELEASED / spec / store.MANIFEST).is_file():
        return _stored(RELEASED / spec, preprocess)
    if path.name.endswith((".onnx", ".onnx.gz")):
        from advbench.models import onnx

        return onnx.load(path, preprocess)
    where, colon, factory = spec.rpartition(":")
    if colon and where and factory.isidentifier():
        return prepared(_users(where, factory), preprocess)
    if path.parent != Path():
        raise UsageError(f"no model at {spec}: expected a directory with {store.MANIFEST}, or a .safetensors file")
    raise UsageError(f"{unknown('model', spec, released())}; or a run directory, a .safetensors file, file.py:factory")


def released() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(manifest.parent.name for manifest in RELEASED.glob(f"*/{store.MANIFEST}"))


def _stored(path: Path, preprocess: Preprocess) -> LoadedModel:
    if preprocess:
        raise OwnPreprocessing(f"{path} normalises its input itself: leave out --input-layout, --mean and --std")
    module, manifest = store.load(path)
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


def _users(where: str, factory: str) -> LoadedModel:
    spec = f"{where}:{factory}"
    is_file = where.endswith(".py")
    if is_file and not Path(where).is_file():
        raise UsageError(f"no file {where}")
    with _importable(Path(where).resolve().parent if is_file else Path.cwd()), _one_line(spec):
        module = _import_file(Path(where)) if is_file else importlib.import_module(where)
        if not callable(make := getattr(module, factory, None)):
            raise UsageError(f"{where} has no function {factory!r}")
        made = make()
    name = f"{Path(where).stem if is_file else where}:{factory}"
    return LoadedModel(name, _predict(made, spec), None, None, None, fingerprint(module, factory, made))


def _predict(made: Any, spec: str) -> Model:
    """Adapt what a factory returned; callables are wrapped, since a jit key needs a hash and theirs may have none."""
    if isinstance(made, nnx.Module) and callable(made):
        return freeze(made)
    if isinstance(made, tuple) and len(made) == 2 and callable(made[0]):
        apply: Callable[..., jax.Array] = made[0]

        def with_params(params: Any, images: jax.Array) -> jax.Array:
            return apply(params, images)

        return jax.tree_util.Partial(with_params, made[1])
    if not callable(made):
        kind = type(made).__name__
        raise UsageError(f"{spec} returned {kind}, which is not a model: give a callable, or (apply, params)")
    if jax.tree_util.all_leaves([made]):
        function: Callable[[jax.Array], jax.Array] = made

        def alone(images: jax.Array) -> jax.Array:
            return function(images)

        return jax.tree_util.Partial(alone)
    return made  # type: ignore[no-any-return]


def _import_file(path: Path) -> ModuleType:
    """Import a file under a private name, so that it neither shadows a package nor is shadowed by one."""
    name = f"_advbench_user_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    source = importlib.util.spec_from_file_location(name, path)
    if source is None or source.loader is None:
        raise UsageError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(source)
    sys.modules[name] = module
    source.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _one_line(spec: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line that says where."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        last = error.__traceback__
        while last and last.tb_next:
            last = last.tb_next
        place = f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})" if last else ""
        message = " ".join(str(error).split())
        raise UsageError(f"{spec} failed: {type(error).__name__}: {message}{place}") from error
