"""Checkpoints: arrays by Orbax, with a sha256 of every file beside them, written completely or not at all.

Layout: `FOLDER/<step>/arrays/` (Orbax), `ledger.json` (state of the host), `manifest.json` (digests).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

KEEP = 2  # the newest; each holds the best weights too
LEDGER, MANIFEST, ARRAYS = "ledger.json", "manifest.json", "arrays"


class CheckpointError(Exception):
    """A checkpoint can't be written, or none of those present can be used; the message says what to do."""


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    folder : Path
        Folder that holds them.
    fingerprint : Mapping[str, str]
        Facts on which the run depends; a run with other facts refuses to resume.
    grows : Mapping[str, str], default MappingProxyType({})
        Names of numbers in `fingerprint` that may have increased, if the condition beside each is empty.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, str], grows: Mapping[str, str] = MappingProxyType({})):
        self.folder = folder.absolute()
        self.fingerprint = dict(fingerprint)
        self.grows = dict(grows)

    def save(self, step: int, tree: Any, ledger: Mapping[str, Any]) -> None:
        """Write one checkpoint and drop old ones.

        Parameters
        ----------
        step : int
            Number of the step.
        tree : Any
            Pytree of arrays.
        ledger : Mapping[str, Any]
            State of the host, JSON.

        Raises
        ------
        CheckpointError
            When the disk refuses; earlier checkpoints remain.
        """
        temporary, final = self.folder / f".tmp-{step}", self.folder / str(step)
        try:
            for leftover in self.folder.glob(".tmp-*"):  # of a run that was killed
                shutil.rmtree(leftover)
            temporary.mkdir(parents=True)
            leaves = [np.asarray(_plain(leaf)) for leaf in jax.tree.leaves(tree)]
            _reserve(temporary / ".room", sum(leaf.nbytes for leaf in leaves))
            _write_arrays(temporary / ARRAYS, leaves)
            about = {"step": step, "fingerprint": self.fingerprint, "ledger": dict(ledger)}
            (temporary / LEDGER).write_text(json.dumps(about, indent=1))
            (temporary / MANIFEST).write_text(json.dumps(_digests(temporary), indent=1))
            _sync(temporary)
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
            _sync_folder(self.folder)
        except Exception as error:  # Orbax wraps disk errors in many types
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(
                f"can't write checkpoint {final}: {_reason(error)}; earlier ones are intact"
            ) from error
        for old in self.steps()[KEEP:]:
            shutil.rmtree(self.folder / str(old), ignore_errors=True)

    def steps(self) -> list[int]:
        """List the steps of all checkpoints, newest first; anything else in the folder is ignored.

        Returns
        -------
        list[int]
            Numbers of steps.
        """
        if not self.folder.is_dir():
            return []
        return sorted((int(entry.name) for entry in self.folder.iterdir() if entry.name.isdecimal()), reverse=True)

    def restore(self, like: Any, say: Callable[[str], None]) -> tuple[Any, dict[str, Any]] | None:
        """Load the newest intact checkpoint.

        Parameters
        ----------
        like : Any
            Tree to fill; its arrays give shapes and types.
        say : Callable[[str], None]
            Called with a line on every damaged checkpoint that was skipped.

        Returns
        -------
        tuple[Any, dict[str, Any]] or None
            Tree and ledger; None when there is no checkpoint at all.

        Raises
        ------
        CheckpointError
            When every checkpoint is damaged, or the run's facts differ from those of the checkpoint.
        """
        steps = self.steps()
        for step in steps:
            fault = damage(self.folder / str(step))
            if fault is None:
                return self._load(self.folder / str(step), like)
            (self.folder / str(step)).rename(self.folder / f"{step}.damaged")
            say(f"passed over a damaged checkpoint: {fault}")
        if steps:
            raise CheckpointError(f"no checkpoint in {self.folder} is whole; train anew in another folder")
        return None

    def _load(self, path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
        about = json.loads((path / LEDGER).read_text())
        self._compare(about["fingerprint"])
        leaves, structure = jax.tree.flatten(like)
        arrays = _read_arrays(path / ARRAYS, len(leaves))
        return jax.tree.unflatten(structure, [_back(*pair) for pair in zip(leaves, arrays, strict=True)]), about[
            "ledger"
        ]

    def _compare(self, then: Mapping[str, str]) -> None:
        now = self.fingerprint
        changed = [
            f"{name} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}"
            + (f" ({self.grows[name]})" if self.grows.get(name) else "")
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name) and not self._grew(name, then)
        ]
        if changed:
            raise CheckpointError(f"can't resume what was trained otherwise: {'; '.join(changed)}")

    def _grew(self, name: str, then: Mapping[str, str]) -> bool:
        return self.grows.get(name) == "" and int(self.fingerprint[name]) >= int(then[name])


def damage(path: Path) -> str | None:
    """Describe damage of a checkpoint's files: file, expected and actual digest; None if there is none.

    Parameters
    ----------
    path : Path
        Folder of the checkpoint.

    Returns
    -------
    str or None
        One line.
    """
    try:
        expected: dict[str, str] = json.loads((path / MANIFEST).read_text())
        for name, digest in expected.items():
            actual = _digest(path / name)
            if actual != digest:
                return f"{path / name} has sha256 {actual}, expected {digest}"
    except (OSError, ValueError, AttributeError) as error:
        return f"{path}: {error}"
    return None if LEDGER in expected else f"{path / MANIFEST} does not list {LEDGER}"


def _plain(leaf: Array) -> Array:
    """Return arrays as they are, random keys as numbers."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _back(like: Array, array: np.ndarray) -> Array:
    """Put an array back on the device, in its former type."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        key: Array = jax.random.wrap_key_data(jnp.array(array), impl=jax.random.key_impl(like))
        return key
    return jnp.array(array, like.dtype)


def _reserve(path: Path, size: int) -> None:
    """Fail early where the disk lacks room: Orbax, failing halfway, prints tracebacks from threads of its own."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        else:
            file.write(bytes(size))
    path.unlink()


def _write_arrays(path: Path, leaves: list[np.ndarray]) -> None:
    import orbax.checkpoint as ocp

    with _silent(), _checkpointer() as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave({str(i): leaf for i, leaf in enumerate(leaves)}))


def _read_arrays(path: Path, count: int) -> list[np.ndarray]:
    import orbax.checkpoint as ocp

    wanted = {str(i): ocp.RestoreArgs(restore_type=np.ndarray) for i in range(count)}
    with _checkpointer() as checkpointer:
        found = checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=wanted))
    return [found[name] for name in wanted]


def _checkpointer() -> Any:
    """Return Orbax for this process alone: of several processes one writes, and each reads for itself."""
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(me, {me}, f"process-{me}") if jax.process_count() > 1 else None
    given = {"multiprocessing_options": alone} if alone else {}
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**given), **given)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Orbax from logging failures with their tracebacks: they are raised too."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _reason(error: Exception) -> str:
    """Return the reason of a disk error, in the system's words where they can be found."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else str(error).partition("\n")[0]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digests(path: Path) -> dict[str, str]:
    return {file.relative_to(path).as_posix(): _digest(file) for file in _files(path)}


def _sync(path: Path) -> None:
    """Flush every file and folder to disk, before the rename makes them visible."""
    for file in _files(path):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    for folder in [path, *(entry for entry in path.rglob("*") if entry.is_dir())]:
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
