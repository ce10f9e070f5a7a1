"""The user's own code: a function in a file or a module, with a one-line error where it fails."""

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
    """Import a file or module, with its folder on the import path, and find a function in it.

    Parameters
    ----------
    where : str
        `path/to/file.py` or `package.module`.
    name : str
        Name of the function.

    Returns
    -------
    Iterator[tuple[ModuleType, Callable[..., Any]]]
        Context manager that gives the module and the function.

    Raises
    ------
    UsageError
        When there is none, or the code within the block fails.
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
    """List functions and classes of a file that can be called without arguments, without running the file.

    Names that begin with an underscore, and those within functions and classes, are left out.

    Parameters
    ----------
    path : Path
        Python file.

    Returns
    -------
    list[str]
        At most 9 names, in the file's order; empty if it can't be read or parsed.
    """
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    found = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and _takes_nothing(node)]
    return [name for name in found if not name.startswith("_")][:9]


def _takes_nothing(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Tell whether all arguments have defaults; for a class, those of its own `__init__`."""
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
    """Return the folder that code in a file or module imports from.

    Parameters
    ----------
    where : str
        `path/to/file.py` or `package.module`.

    Returns
    -------
    Path
        Absolute path.
    """
    return Path(where).resolve().parent if where.endswith(".py") else Path.cwd()


def split_code(spec: str) -> tuple[str, str] | None:
    """Split `file.py:function` or `package.module:function`; None for anything else.

    Parameters
    ----------
    spec : str
        As typed.

    Returns
    -------
    tuple[str, str] or None
        File or module, and function.
    """
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
    """Let imports find modules of a folder.

    Parameters
    ----------
    folder : Path
        Folder put first on the import path.

    Returns
    -------
    Iterator[None]
        Context manager.
    """
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def one_line(spec: str) -> Iterator[None]:
    """Turn any error of the user's code into one line that says where.

    Parameters
    ----------
    spec : str
        Name of the code, for the message.

    Returns
    -------
    Iterator[None]
        Context manager.

    Raises
    ------
    UsageError
        For any error but an AdvbenchError.
    """
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
