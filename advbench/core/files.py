"""Writing files so that a crash or a full disk never leaves half of one."""

import os
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write beside, flush to the disk, rename: at every moment the old file or the new one is there, whole.

    Parameters
    ----------
    path : Path
        Of the file.
    content : bytes or iterable of bytes
        All of it, or one part after the other.

    Raises
    ------
    OSError
        As the system says; the old file, if any, stands.
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
