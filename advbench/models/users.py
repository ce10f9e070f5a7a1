"""The user's own code: a factory in a file or a module, and what is made of what it returns."""

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from advbench.attacks.base import Model
from advbench.errors import AdvbenchError, UsageError
from advbench.models.adapt import adapt, fill
from advbench.models.fingerprint import fingerprint


class Users(NamedTuple):
    """A model of the user's code, and what `LoadedModel` should say of it."""

    name: str
    predict: Model  # takes images in the first of `layouts`
    layouts: tuple[str, ...]
    digest: str
    record: dict[str, Any]


def users_model(where: str, factory: str, weights: Path | None = None) -> Users:
    """Call `factory()` of a file or module, which may return anything that `adapt` knows.

    Parameters
    ----------
    where : str
        `path/to/file.py` or `package.module`.
    factory : str
        Name of a function without arguments.
    weights : Path, optional
        Put into what it returned, a PyTorch or Keras model.

    Raises
    ------
    UsageError
        The code fails, or returns what is no model; the weights do not fit.
    CorruptFile
        The weights can't be read.
    """
    spec = f"{where}:{factory}"
    is_file = where.endswith(".py")
    if is_file and not Path(where).is_file():
        raise UsageError(f"no file {where}")
    with _importable(Path(where).resolve().parent if is_file else Path.cwd()), one_line(spec):
        module = _import_file(Path(where)) if is_file else importlib.import_module(where)
        if not callable(make := getattr(module, factory, None)):
            raise UsageError(f"{where} has no function {factory!r}")
        made = make()
        if weights:
            fill(made, weights, spec)
        adapted = adapt(made, spec)
    name = f"{Path(where).stem if is_file else where}:{factory}"
    return Users(name, adapted.predict, adapted.layouts, fingerprint(module, factory, made), adapted.record)


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
    os.environ.setdefault("KERAS_BACKEND", "jax")  # read once, when Keras is first imported
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def one_line(spec: str) -> Iterator[None]:
    """Turn whatever code that is not ours raises into one line that says where."""
    try:
        yield
    except AdvbenchError:
        raise
    except Exception as error:
        last = error.__traceback__
        while last and last.tb_next:
            last = last.tb_next
        place = f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})" if last else ""
        message = " ".join(str(error).split())
        raise UsageError(f"{spec} failed: {type(error).__name__}: {message}{place}") from error
