"""What a data set is made of: its description, its official files, and where they can be had."""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from advbench.data.formats import CorruptData
from advbench.errors import DataUnavailable, UsageError

Progress = Callable[[int, int | None], None]  # bytes done, bytes in all where known
Contents = Generator[tuple[str, bytes], None, None]  # name of an official file, its bytes


@dataclass(frozen=True)
class RawFile:
    """An official file: its name, its size in bytes, its digest as `sha256:...` or `md5:...`."""

    name: str
    size: int
    digest: str

    def check(self, content: bytes) -> None:
        """Raise CorruptData, naming both digests, unless `content` is this file's."""
        algorithm = self.digest.partition(":")[0]
        actual = f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}"
        if actual != self.digest:
            raise CorruptData(f"{self.name} is corrupt: expected {self.digest}, found {actual}")


Reader = Callable[[Path, Sequence[RawFile]], Contents]  # reads the files wanted out of one archive


class Source(Protocol):
    """A place that files come from. What it gives is checked by digest, so it need not be trusted."""

    def read(self, files: Sequence[RawFile], scratch: Path, progress: Progress) -> Contents:
        """Yield those of `files` that it has; `scratch` is for downloads. OSError or CorruptData on failure."""


@dataclass(frozen=True)
class DatasetInfo:
    """A data set, described.

    `shape` is (H, W, C) and `default_eps` is in pixel units with white at 1. `files` lists the official files of each
    split, in the order in which `decode` wants their bytes; `archives` maps a file-name pattern to its reader.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    default_norm: str
    default_eps: str
    licence: str
    citation: str
    splits: Mapping[str, int]
    files: Mapping[str, tuple[RawFile, ...]]
    decode: Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]]
    archives: Mapping[str, Reader]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Dataset:
    """One split in memory: `images` uint8 [N,H,W,C], `labels` int32 [N].

    `total` is the size of the official split, of which these are the first N images; `source` says where they came
    from; `digest` is the sha256 of the image bytes followed by the labels as little-endian int32.
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str
    digest: str
    total: int

    def __len__(self) -> int:
        return len(self.labels)

    def require(self, n: int) -> None:
        """Raise unless the first `n` images are here: DataUnavailable if fetching would help, else UsageError."""
        if n > self.total:
            raise UsageError(f"{self.name} {self.split} has {self.total:,} images, fewer than the {n:,} asked for")
        if n > len(self):
            raise DataUnavailable(
                f"only the first {len(self):,} of {self.total:,} {self.name} {self.split} images are here and "
                f"{n:,} are needed; run: advbench data fetch {self.name}"
            )


def content_digest(images: np.ndarray, labels: np.ndarray) -> str:
    """The sha256 of uint8 `images` and, after them, `labels` as little-endian int32."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(labels.astype("<i4").tobytes())
    return digest.hexdigest()
