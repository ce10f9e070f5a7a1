"""Running the user's own code: a function in a file or a module, with one line where it fails."""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from advbench.core.errors import AdvbenchError, UsageError


@contextmanager
def function_of(where: str, name: str) -> Iterator[tuple[ModuleType, Callable[..., Any]]]:
    """Import a file or module, with its folder to import from, and find a function in it.

    Parameters
    ----------
    where : str
        `path/to/file.py` or `package.module`.
    name : str
        Of the function.

    Raises
    ------
    UsageError
        When there is none, or whatever runs within fails.
    """
    is_file = where.endswith(".py")
    if is_file and not Path(where).is_file():
        raise UsageError(f"no file {where}")
    folder = folder_of(where)
    with importable(folder), one_line(f"{where}:{name}"):
        module = _import_file(Path(where)) if is_file else importlib.import_module(where)
        if not callable(function := getattr(module, name, None)):
            there = makers(Path(file)) if (file := getattr(module, "__file__", None)) else []
            hint = f" (it could be {' or '.join(there)})" if there else ""
            raise UsageError(f"{where} has no function {name!r}{hint}")
        yield module, function


def makers(path: Path) -> list[str]:
    """Names of functions and classes of a file that can be called without arguments, read without running it.

    Those that begin with an underscore are left out, and those in functions and classes.

    Parameters
    ----------
    path : Path
        Of Python code.

    Returns
    -------
    list of str
        At most 9, in the file's order; empty where it can't be read or parsed.
    """
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    found = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and _takes_nothing(node)]
    return [name for name in found if not name.startswith("_")][:9]


def _takes_nothing(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether all of its arguments have defaults; of a class with an `__init__` of its own, those of that."""
    bound = 0
    if isinstance(node, ast.ClassDef):
        own = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        if not own:
            return not any("Exception" in ast.unparse(base) or "Error" in ast.unparse(base) for base in node.bases)
        node, bound = own[-1], 1  # `self`
    takes = node.args
    needed = len(takes.posonlyargs) + len(takes.args) - len(takes.defaults)
    return needed <= bound and all(default is not None for default in takes.kw_defaults)


def folder_of(where: str) -> Path:
    """The folder that code in a file or module imports from."""
    return Path(where).resolve().parent if where.endswith(".py") else Path.cwd()


def split_code(spec: str) -> tuple[str, str] | None:
    """`file.py:function` or `package.module:function` as its two halves; None for what is neither."""
    where, _, function = spec.rpartition(":")
    is_module = all(part.isidentifier() for part in where.split("."))
    return (where, function) if function.isidentifier() and (where.endswith(".py") or is_module) else None


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
def importable(folder: Path) -> Iterator[None]:
    """Let imports find what lies in a folder."""
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
