"""Storage of adversarial images during an evaluation: in memory while few, in a temporary file when many."""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from advbench.core.errors import DataUnavailable
from advbench.core.lazy import Lazy, chunks

HEADER = 1 << 20  # bytes: largest header of a file
MEMORY = 1 << 28  # bytes: most images kept in memory by all evaluations of this process
_held: dict[int, int] = {}  # bytes in memory, by evaluation


class OpenFile:
    """A file open for reading, closed with the last object that reads from it."""

    def __init__(self, file: IO[bytes]):
        self.fileno = file.fileno
        weakref.finalize(self, file.close)


class ImageStore(MutableMapping[int, np.ndarray]):
    """Images float32 `[H, W, C]` of one shape, by position; all stores hold at most `MEMORY` bytes in memory.

    A gate has an evaluation for each threat model at once, so a limit for each would be none for all.
    """

    def __init__(self) -> None:
        self._near: dict[int, np.ndarray] = {}
        self._far: dict[int, int] = {}  # position: place in the file
        self._file: OpenFile | None = None
        self._shape: tuple[int, ...] = ()
        _held[id(self)] = 0
        weakref.finalize(self, _held.pop, id(self))

    def __setitem__(self, at: int, image: np.ndarray) -> None:
        if self._file is None and sum(_held.values()) + image.nbytes > MEMORY:
            self._file = OpenFile(TemporaryFile(prefix="advbench-"))  # noqa: SIM115 - closed by the object
            for position, each in self._near.items():
                self._put(position, each)
            self._near.clear()
            _held[id(self)] = 0
        if self._file is None:
            _held[id(self)] += image.nbytes if at not in self._near else 0
            self._near[at] = image
        else:
            self._put(at, image)

    def _put(self, at: int, image: np.ndarray) -> None:
        place = self._far.setdefault(at, len(self._far))
        content = np.ascontiguousarray(image, np.float32)
        self._shape = content.shape
        assert self._file is not None  # noqa: S101 - the caller made it
        try:
            os.pwrite(self._file.fileno(), content.data, place * content.nbytes)
        except OSError as error:
            raise DataUnavailable(
                f"no space for adversarial images among temporary files: {error.strerror}; set TMPDIR to a larger disk"
            ) from None

    def __getitem__(self, at: int) -> np.ndarray:
        if self._file is None:
            return self._near[at]
        return Filed(self._file, [self._far[at]], self._shape)[0]

    def __delitem__(self, at: int) -> None:
        raise TypeError("adversarial images can't be removed once stored")

    def __iter__(self) -> Iterator[int]:
        return iter(self._near if self._file is None else self._far)

    def __len__(self) -> int:
        return len(self._near if self._file is None else self._far)

    def __ior__(self, others: Mapping[int, np.ndarray]) -> ImageStore:
        for at in others:
            self[at] = others[at]
        return self

    def stacked(self, order: Sequence[int], shape: tuple[int, ...]) -> Any:
        """Return the images at these positions, float32 `[b, *shape]`: an array, or a `Filed` that reads the file."""
        if self._file is None:
            return np.array([self._near[at] for at in order], np.float32).reshape(-1, *shape)
        return Filed(self._file, [self._far[at] for at in order], shape)


class Filed(Lazy):
    """Images float32 stored one after the other in a file from byte `start` on, read on demand."""

    def __init__(self, file: OpenFile, places: Sequence[int], shape: tuple[int, ...], start: int = 0):
        super().__init__((len(places), *shape), np.float32)
        self.file, self.places, self.start = file, places, start

    def one(self, index: int) -> np.ndarray:
        """Read one image, float32 `[H, W, C]`."""
        size = self.row_bytes
        content = os.pread(self.file.fileno(), size, self.start + self.places[index] * size)
        return np.frombuffer(content, "<f4").reshape(self.shape[1:])


def filed(index: np.ndarray, x_adv: Any) -> Iterator[bytes]:
    """Yield a safetensors file of both arrays, part by part; `x_adv` is an array or a Lazy."""
    content = index.astype("<i4").tobytes()
    end = len(content) + 4 * math.prod(x_adv.shape)
    arrays = {
        "index": {"dtype": "I32", "shape": list(index.shape), "data_offsets": [0, len(content)]},
        "x_adv": {"dtype": "F32", "shape": list(x_adv.shape), "data_offsets": [len(content), end]},
    }
    header = json.dumps(arrays).encode()
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little") + header + content
    for part in chunks(x_adv):
        yield part.astype("<f4").tobytes()


def read_filed(path: Path) -> dict[str, Any]:
    """Open a file that `filed` wrote; its images are read on demand.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        `index`, int32 `[b]`, and `x_adv`, a `Filed` of float32 `[b, H, W, C]`.

    Raises
    ------
    OSError
        When the file can't be read.
    ValueError, KeyError, TypeError
        When it is another kind of file or damaged.
    """
    file = OpenFile(path.open("rb"))
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(os.pread(file.fileno(), 8, 0), "little")
    if length > HEADER:
        raise ValueError(f"a header of {length} bytes, more than the {HEADER} allowed")
    header = json.loads(os.pread(file.fileno(), length, 8))
    shape = tuple(header["x_adv"]["shape"])
    (first, last), (begin, end) = (header[name]["data_offsets"] for name in ("index", "x_adv"))
    wanted = math.prod(shape) * 4
    if header["index"]["dtype"] != "I32" or header["x_adv"]["dtype"] != "F32" or not len(shape) == 4 <= wanted:
        raise ValueError("expected int32 index [b] and float32 x_adv [b, H, W, C]")
    if end - begin != wanted or last - first != 4 * shape[0] or size != 8 + length + max(last, end):
        raise ValueError(f"{size} bytes do not match the sizes in its header")
    index = np.frombuffer(os.pread(file.fileno(), last - first, 8 + length + first), "<i4").astype(np.int32)
    return {"index": index, "x_adv": Filed(file, range(shape[0]), shape[1:], 8 + length + begin)}
