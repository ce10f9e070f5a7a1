"""Trust in the code of a network: a run directory may name only code that its user trained with here."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import platformdirs

from advbench.core.errors import UsageError
from advbench.models.architecture import Architecture, Code, find


def trust(code: Code) -> None:
    """Record that the user ran this code here, so that a run directory that names it may be loaded.

    Parameters
    ----------
    code : Code
        The code.
    """
    with contextlib.suppress(OSError):
        path = _trusted(code)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def remembered(code: Code, run: Path) -> Architecture:
    """Return the network that a run directory was trained with, if this user trained with the same code here.

    A file from someone else must not choose the code that runs: other code has to be named by whoever loads it.

    Parameters
    ----------
    code : Code
        The code that the manifest names.
    run : Path
        Run directory, for messages.

    Returns
    -------
    Architecture
        The network, without weights.

    Raises
    ------
    UsageError
        When the file is missing or changed, or its code was never trained with here; it says what to do.
    """
    name = f"name it, if you trust it: {code} --weights {run}, or load_model({str(run)!r}, arch={str(code)!r})"
    if not code.where:
        raise UsageError(
            f"{run} was made by {code.factory}, which is not in a file: load_model({str(run)!r}, arch={code.factory})"
        )
    if not _trusted(code).exists():
        raise UsageError(f"{run} needs the code {code}, which was never trained with on this machine: {name}")
    if code.where.endswith(".py"):
        if not Path(code.where).is_file():
            raise UsageError(f"{run} needs {code.where}, which is not here: go to its folder, or {name}")
        _require_same(code, hashlib.sha256(Path(code.where).read_bytes()).hexdigest(), run)
    made = find(str(code))
    assert made.code  # noqa: S101 - it was code that was asked for
    _require_same(code, made.code.sha256, run)
    return made


def _require_same(code: Code, actual: str, run: Path) -> None:
    if actual != code.sha256:
        raise UsageError(
            f"{code.where} was changed since {run} was trained (sha256 expected {code.sha256}, actual {actual}): bring "
            f"the former one back, or, if it makes the same network, name it: {code} --weights {run}"
        )


def _trusted(code: Code) -> Path:
    """Return the file that marks code as trusted. The name of a module counts, since finding it runs its packages."""
    where = "" if code.where.endswith(".py") else code.where
    key = hashlib.sha256(f"{where}\n{code.factory}\n{code.sha256}".encode()).hexdigest()
    return platformdirs.user_cache_path("advbench", appauthor=False) / "trained-code" / key
