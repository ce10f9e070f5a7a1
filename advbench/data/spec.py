"""A data set in memory or decoded as it is asked for; of a published one, its official files and where they are had."""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from advbench.data.formats import CorruptData

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
