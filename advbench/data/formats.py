"""Decoders of the data sets' file formats. All are bounded: no input makes them read without end.

Nothing is unpickled and nothing is extracted: archives are read member by member.
"""

import gzip
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np

from advbench.core.errors import DataUnavailable

CIFAR_SHAPE = (32, 32, 3)
ARCHIVE_SLACK = 1 << 24  # bytes an archive may hold beside what is wanted: headers, read-mes


class CorruptData(DataUnavailable):
    """Bytes that differ from what is expected."""


class Capped:
    """A byte stream that refuses to give more than `limit` bytes, so that a small file can't fill the memory.

    Parameters
    ----------
    stream : IO[bytes]
        The stream.
    limit : int
        Bytes allowed.
    """

    def __init__(self, stream: IO[bytes], limit: int):
        self.stream, self.limit, self.left = stream, limit, limit

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes.

        Parameters
        ----------
        size : int
            Number of bytes.

        Returns
        -------
        bytes
            The bytes.

        Raises
        ------
        CorruptData
            Beyond the limit, or when the compressed stream is broken.
        """
        try:
            chunk = self.stream.read(min(size, self.left + 1))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CorruptData(f"broken gzip stream: {error}") from error
        self.left -= len(chunk)
        if self.left < 0:
            raise CorruptData(f"it unpacks to more than {self.limit:,} bytes")
        return chunk


def gunzip(path: Path, size: int) -> bytes:
    """Read a gzip file of at most `size` bytes of content.

    Parameters
    ----------
    path : Path
        Path of the file.
    size : int
        Bytes allowed.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    CorruptData
        Beyond the limit, or when the file is broken.
    """
    with gzip.open(path) as stream:
        capped = Capped(cast("IO[bytes]", stream), size)
        return b"".join(iter(lambda: capped.read(1 << 20), b""))


def read_tar(path: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Read named regular files of a gzipped tar; everything else is skipped.

    Parameters
    ----------
    path : Path
        Path of the archive.
    sizes : Mapping[str, int]
        Bytes allowed, by name of the member.

    Returns
    -------
    Iterator[tuple[str, bytes]]
        Names and bytes.

    Raises
    ------
    CorruptData
        When a wanted member is a link or device, too large or duplicated, or the archive is broken or too large.
    """
    missing = dict(sizes)
    with gzip.open(path) as stream:
        capped = Capped(cast("IO[bytes]", stream), 4 * sum(sizes.values()) + ARCHIVE_SLACK)
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", capped), mode="r|") as archive:
                for member in archive:
                    if member.name not in sizes:
                        continue
                    limit = missing.pop(member.name, -1)
                    file = archive.extractfile(member) if member.isreg() else None
                    if file is None or member.size > limit:
                        raise CorruptData(
                            f"{member.name} is not the one regular file of at most {limit:,} bytes expected"
                        )
                    yield member.name, file.read()
        except tarfile.TarError as error:
            raise CorruptData(f"broken tar archive: {error}") from error


def decode_idx(content: bytes, ndim: int) -> np.ndarray:
    """Decode an idx file of unsigned bytes; magic number, sizes and length must agree exactly.

    Parameters
    ----------
    content : bytes
        The file.
    ndim : int
        Number of dimensions.

    Returns
    -------
    np.ndarray
        uint8, with `ndim` axes.

    Raises
    ------
    CorruptData
        When they don't agree.
    """
    header = 4 + 4 * ndim
    if len(content) < header:
        raise CorruptData(f"idx header cut off at {len(content)} of {header} bytes")
    magic, *dims = struct.unpack(f">{1 + ndim}I", content[:header])
    if magic != 0x0800 + ndim:
        raise CorruptData(f"idx magic is {magic:#010x}, not {0x0800 + ndim:#010x}")
    expected = header + int(np.prod(dims, dtype=object))
    if len(content) != expected:
        raise CorruptData(f"idx file has {len(content):,} bytes, its header says {expected:,}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(dims)


def decode_mnist(contents: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Decode images and labels of an MNIST split.

    Parameters
    ----------
    contents : Sequence[bytes]
        An idx3 and an idx1 file.

    Returns
    -------
    tuple[np.ndarray, np.ndarray]
        Images uint8 `[N, 28, 28, 1]` and labels int32 `[N]`.

    Raises
    ------
    CorruptData
        For anything else.
    """
    images, labels = decode_idx(contents[0], 3), decode_idx(contents[1], 1)
    if images.shape != (len(labels), 28, 28) or labels.max(initial=0) > 9:
        raise CorruptData(f"images {images.shape} and {len(labels)} labels are not an MNIST split")
    return images[..., None], labels.astype(np.int32)


def decode_cifar(contents: Sequence[bytes], label_bytes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode CIFAR's records: label bytes, of which the last counts, then 3 x 32 x 32 pixels.

    Parameters
    ----------
    contents : Sequence[bytes]
        Files of records.
    label_bytes : int
        Label bytes of a record, 1 or 2.
    classes : int
        Number of classes K.

    Returns
    -------
    tuple[np.ndarray, np.ndarray]
        Images uint8 `[N, 32, 32, 3]` and labels int32 `[N]`.

    Raises
    ------
    CorruptData
        For anything else.
    """
    record = label_bytes + int(np.prod(CIFAR_SHAPE))
    for content in contents:
        if not content or len(content) % record:
            raise CorruptData(f"{len(content):,} bytes are not whole CIFAR records of {record:,}")
    rows = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, record) for content in contents])
    labels = rows[:, label_bytes - 1].astype(np.int32)
    if labels.max() >= classes:
        raise CorruptData(f"CIFAR label {labels.max()} where only {classes} classes are")
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


def encode_cifar(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Encode CIFAR-10 records: label byte, then the three colour planes.

    Parameters
    ----------
    images : np.ndarray
        uint8 `[N, 32, 32, 3]`.
    labels : np.ndarray
        Integers `[N]`.

    Returns
    -------
    bytes
        The records.
    """
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels.astype(np.uint8)[:, None], planes], axis=1).tobytes()
