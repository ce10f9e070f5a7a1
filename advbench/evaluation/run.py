"""The run directory of an evaluation, from which a stopped or crashed run resumes.

run.json                   fingerprint: everything that the result depends on
journal/000007.SHA256.st   every finished batch, until the run is complete
adversarial.safetensors    `index` int32 [b] and `x_adv` float32 [b, H, W, C] of every broken image
result.json                written last: the run is complete once it exists
cut-short                  exists if a remote model cut the run short: the journal is kept, and the run can be resumed
lock                       locked while a process works here
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from advbench.core import files
from advbench.core.errors import DataUnavailable, UsageError
from advbench.evaluation.judge import Verdict
from advbench.evaluation.kept import MEMORY, filed, read_filed
from advbench.evaluation.result import Result
from advbench.evaluation.tally import AdversarialImages, BatchOutcome

CUT = "cut-short"

log = logging.getLogger(__name__)


class RunDirectory:
    """A run directory, locked by this process within a `with` block.

    Parameters
    ----------
    path : Path
        The folder, created if missing.
    fingerprint : dict
        Everything that the result depends on, as JSON.
    resume : bool
        Continue a run that is there already.

    Raises
    ------
    UsageError
        On entering the block: when another process works there, when there is a run but `resume` is False, or when
        that run has another fingerprint.
    DataUnavailable
        When the disk is full.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any], resume: bool):
        self.path, self.journal = path, path / "journal"
        self.fingerprint, self.resume = fingerprint, resume

    def __enter__(self) -> Self:
        if not self.resume and self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"{self.path} exists: continue it with --resume, or choose another --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise _storage(self.path, error) from None
        try:
            self._hold()
            self._compare()
        except BaseException:
            self.lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.close()  # the lock file stays: removing it would let two processes hold two of them

    def _hold(self) -> None:
        """Take the lock; the system releases it when the process ends for any reason, so no lock is ever stale."""
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.seek(0)
            holder = self.lock.read().strip() or "unknown"
            raise UsageError(
                f"process {holder} is writing to {self.path}: wait until it ends, or choose another --out"
            ) from None
        self.lock.truncate(0)
        self.lock.write(f"{os.getpid()}\n")
        self.lock.flush()

    def _compare(self) -> None:
        path = self.path / "run.json"
        if not path.exists():
            self.journal.mkdir(exist_ok=True)
            write(path, json.dumps(self.fingerprint, indent=1).encode())
            return
        try:
            then = json.loads(path.read_bytes())
            changed = [f"{k} (was {then.get(k)}, is {v})" for k, v in self.fingerprint.items() if then.get(k) != v]
        except (ValueError, AttributeError):
            raise UsageError(f"{path} is damaged: choose another --out") from None
        if changed:
            raise UsageError(f"can't resume {self.path}, its settings changed: {'; '.join(changed)}")

    def finished(self) -> tuple[Result, AdversarialImages] | None:
        """Return the result and images of a complete run; None for a new, unfinished or cut-short run.

        Raises
        ------
        UsageError
            When the stored images are not those of the result.
        """
        if not (self.path / "result.json").exists() or (self.path / CUT).exists():
            return None
        result, images = Result.load(self.path), load_images(self.path)
        if result.adversarial_digest != (actual := images.digest()):
            expected = result.adversarial_digest
            raise UsageError(f"the images in {self.path} have sha256 {actual}, but its result says {expected}")
        return result, images

    def finish(self, result: Result, images: AdversarialImages, *, keep: bool = False) -> None:
        """Store the result and images; remove the journal unless the run is cut short and can be resumed (`keep`)."""
        if keep:
            write(self.path / CUT, b"")
        write(self.path / "adversarial.safetensors", filed(images.index, images.x_adv))
        write(self.path / "result.json", result.to_json().encode())
        if not keep:
            (self.path / CUT).unlink(missing_ok=True)
            shutil.rmtree(self.journal, ignore_errors=True)

    def keep(self, number: int, shard: BatchOutcome) -> None:
        """Store a finished batch under its number and digest."""
        payload = _pack(shard)
        write(self.journal / f"{number:06}.{sha256(payload).hexdigest()}.st", payload)

    def replay(self, number: int, positions: np.ndarray) -> BatchOutcome | None:
        """Return the stored batch of that number if it is undamaged and of these images, else None."""
        for path in self.journal.glob(f"{number:06}.*.st"):
            payload, expected = path.read_bytes(), path.name.split(".")[1]
            if (actual := sha256(payload).hexdigest()) == expected:
                shard = _unpack(payload)
                if np.array_equal(shard.positions, positions):
                    return shard
            else:
                log.warning("%s is damaged: sha256 %s, expected %s; computing it again", path, actual, expected)
            path.unlink()
        return None


def load_images(run: Path) -> AdversarialImages:
    """Load the adversarial images of a run directory.

    Parameters
    ----------
    run : Path
        The run directory.

    Returns
    -------
    AdversarialImages
        The adversarial images, in memory or, if there are many, read on demand.

    Raises
    ------
    UsageError
        When the file is missing, unreadable or damaged.
    """
    path = run / "adversarial.safetensors"
    try:
        return AdversarialImages(**(read_filed(path) if path.stat().st_size > MEMORY else load(path.read_bytes())))
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from None
    except (SafetensorError, TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{path} is damaged: {error}") from None


def write(path: Path, payload: bytes | Iterator[bytes]) -> None:
    """Replace a file atomically: write beside it, flush to the disk, rename.

    Parameters
    ----------
    path : Path
        The file.
    payload : bytes or iterator of bytes
        Its content.

    Raises
    ------
    DataUnavailable
        When the disk is full, or the file would be too large.
    UsageError
        When it can't be written for another reason.
    """
    try:
        files.write(path, payload)
    except OSError as error:
        raise _storage(path, error, len(payload) if isinstance(payload, bytes) else 0) from None


def _storage(path: Path, error: OSError, size: int = 0) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        much = f" ({size} bytes)" if size else ""
        return DataUnavailable(f"no space for {path}{much}: {error.strerror}; free disk space, then use --resume")
    return UsageError(f"can't write {path}: {error.strerror}")


def _pack(shard: BatchOutcome) -> bytes:
    scalars = {name: np.float64(getattr(shard, name)) for name in ("seconds", "compile_seconds", "limit")}
    arrays = {
        name: getattr(shard, name)
        for name in ("positions", "x_adv", "forwards", "gradients", "tried", "claims", "reached")
    }
    everything = arrays | scalars | shard.verdict._asdict()
    return save({name: np.ascontiguousarray(array) for name, array in everything.items()})


def _unpack(payload: bytes) -> BatchOutcome:
    arrays = load(payload)
    verdict = Verdict(**{name: arrays.pop(name) for name in Verdict._fields})
    seconds, compiling, limit = (arrays.pop(name).item() for name in ("seconds", "compile_seconds", "limit"))
    return BatchOutcome(**arrays, verdict=verdict, seconds=seconds, compile_seconds=compiling, limit=int(limit))
