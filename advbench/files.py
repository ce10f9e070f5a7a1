"""Writing files so that a crash or a full disk never leaves half of one."""

import os
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write beside, flush to the disk, rename: at every moment the old file or the new one is there, whole.

    Raises
    ------
    OSError
        As the system says; the old file, if any, stands.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
