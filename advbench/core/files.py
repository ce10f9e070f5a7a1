"""Atomic file writes: neither a crash nor a full disk leaves half a file."""

import os
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a temporary file, flush it to disk, rename it: at every moment the old file or the new one is complete.

    Parameters
    ----------
    path : Path
        Path of the file.
    content : bytes or Iterable[bytes]
        The whole content, or its parts in order.

    Raises
    ------
    OSError
        As the system says; the old file, if any, remains.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
