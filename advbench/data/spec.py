"""Descriptions of published data sets: official files, their digests and their sources."""

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
    """An official file.

    Parameters
    ----------
    name : str
        Name of the file.
    size : int
        Bytes.
    digest : str
        `sha256:...` or `md5:...`.
    """

    name: str
    size: int
    digest: str

    def check(self, content: bytes) -> None:
        """Check that bytes are this file's.

        Parameters
        ----------
        content : bytes
            The bytes.

        Raises
        ------
        CorruptData
            When they differ, naming both digests.
        """
        algorithm = self.digest.partition(":")[0]
        actual = f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}"
        if actual != self.digest:
            raise CorruptData(f"{self.name} is corrupt: expected {self.digest}, found {actual}")


Reader = Callable[[Path, Sequence[RawFile]], Contents]  # reads the files wanted out of one archive


class Source(Protocol):
    """A source of files. Its files are checked by digest, so it need not be trusted."""

    def read(self, files: Sequence[RawFile], scratch: Path, progress: Progress) -> Contents:
        """Yield those of `files` that it has.

        Parameters
        ----------
        files : Sequence[RawFile]
            Official files wanted.
        scratch : Path
            Folder for downloads.
        progress : Progress
            Called with the bytes done and the bytes in all (None if unknown).

        Returns
        -------
        Contents
            Names and bytes.

        Raises
        ------
        OSError
            When the source is unavailable.
        CorruptData
            When it is damaged.
        """


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a published data set.

    Parameters
    ----------
    name : str
        Name in the registry.
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : tuple[str, ...]
        Names of the classes, by label.
    default_norm, default_eps : str
        Usual threat model; eps with white being 1.
    licence, citation : str
        Terms of use, and paper.
    splits : Mapping[str, int]
        Number of images, by split.
    files : Mapping[str, tuple[RawFile, ...]]
        Official files of each split, in the order in which `decode` takes their bytes.
    decode : Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]]
        Bytes of the files to images uint8 `[N, H, W, C]` and labels int32 `[N]`.
    archives : Mapping[str, Reader]
        Readers by pattern of file names.
    sources : tuple[Source, ...]
        Sources in turn.
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
