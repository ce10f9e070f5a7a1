"""Extra training images: an `.npz` file of generated or pseudo-labelled images. Nothing is unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any

import numpy as np

from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.lazy import content_digest
from advbench.data.formats import CorruptData

LIMIT = 1 << 37  # bytes of images, unpacked: 40 million of CIFAR's; files that claim more are refused
IMAGES, LABELS = ("image", "images"), ("label", "labels")


@dataclass(frozen=True)
class Extra:
    """Extra training images.

    Parameters
    ----------
    images : np.ndarray
        uint8 `[N, H, W, C]`.
    labels : np.ndarray
        int32 `[N]`.
    digest : str
        sha256 of both.
    """

    images: np.ndarray
    labels: np.ndarray
    digest: str


def read(path: Path, shape: Sequence[int], classes: int) -> Extra:
    """Read images and labels for a given data set.

    Parameters
    ----------
    path : Path
        An `.npz` file with `image` or `images`, uint8 `[N, H, W, C]`, and `label` or `labels`, integers `[N]`.
    shape : Sequence[int]
        Shape of the data set's images, (H, W, C).
    classes : int
        Number of classes K.

    Returns
    -------
    Extra
        The images.

    Raises
    ------
    DataUnavailable
        When the file can't be read, or is damaged (`CorruptData`).
    UsageError
        When it holds something else.
    """
    with opened(path) as archive:
        images = _images(archive, path, shape)
        labels = _member(archive, path, LABELS, lambda s, d: len(s) == 1 and d.kind in "iu", "integers [N]")
    if len(labels) != len(images):
        raise UsageError(f"{path} has {len(images):,} images but {len(labels):,} labels")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise UsageError(f"{path} has labels from {labels.min()} to {labels.max()}; they must be 0 to {classes - 1}")
    labels = labels.astype(np.int32)
    return Extra(images, labels, content_digest(images, labels))


def read_images(path: Path, shape: Sequence[int] | None = None) -> np.ndarray:
    """Read the images alone; errors are those of `read`.

    Parameters
    ----------
    path : Path
        An `.npz` file with `image` or `images`, uint8 `[N, H, W, C]`.
    shape : Sequence[int], optional
        Shape required, (H, W, C); None accepts any.

    Returns
    -------
    np.ndarray
        uint8 `[N, H, W, C]`.
    """
    with opened(path) as archive:
        return _images(archive, path, shape)


def labelled(predict: Callable[..., Any], images: np.ndarray, size: int = 256) -> np.ndarray:
    """Label images by a model's likeliest class.

    Self-training of Carmon, Raghunathan, Schmidt, Liang & Duchi 2019, arXiv 1905.13736.

    Parameters
    ----------
    predict : Callable[..., Any]
        Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
    images : np.ndarray
        uint8 `[N, H, W, C]`.
    size : int, default 256
        Images in a batch.

    Returns
    -------
    np.ndarray
        int32 `[N]`.
    """
    import jax

    from advbench.core.batches import Batches

    run = jax.jit(lambda x: predict(x.astype(np.float32) / 255).argmax(-1))
    labels: np.ndarray = Batches(size).map(run, images, size=size)
    return labels.astype(np.int32)


def _images(archive: zipfile.ZipFile, path: Path, shape: Sequence[int] | None) -> np.ndarray:
    def fits(found: tuple[int, ...], dtype: np.dtype) -> bool:
        return dtype == np.uint8 and len(found) == 4 and (shape is None or found[1:] == tuple(shape))

    return _member(archive, path, IMAGES, fits, f"uint8 [N, {', '.join(map(str, shape or 'HWC'))}]")


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive, and turn any error into one line.

    Parameters
    ----------
    path : Path
        An `.npz` file.

    Returns
    -------
    Iterator[zipfile.ZipFile]
        Context manager.

    Raises
    ------
    DataUnavailable
        When the file can't be read, or is damaged (`CorruptData`).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, ValueError, RuntimeError) as error:
        raise CorruptData(f"{path} is no sound .npz file: {' '.join(str(error).split())}") from None


def _member(
    archive: zipfile.ZipFile, path: Path, names: Sequence[str], fits: Callable[..., bool], wanted: str
) -> np.ndarray:
    """Read one array, after checking its header."""
    present = [name for name in names if f"{name}.npy" in archive.namelist()]
    if len(present) != 1:
        raise UsageError(f"{path} must have one array called {' or '.join(map(repr, names))}: {wanted}")
    with archive.open(f"{present[0]}.npy") as stream:
        shape, dtype = read_header(stream)
        if dtype.hasobject or not fits(shape, dtype) or 0 in shape:
            raise UsageError(f"{path}: {present[0]!r} is {dtype} {list(shape)}; it must be {wanted}")
        if (size := int(np.prod(shape, dtype=object)) * dtype.itemsize) > LIMIT:
            raise UsageError(f"{path}: {present[0]!r} takes {size:,} bytes, more than the {LIMIT:,} allowed")
    with archive.open(f"{present[0]}.npy") as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and type of an array from the header of its `.npy` file.

    Parameters
    ----------
    stream : IO[bytes]
        The file, at its beginning.

    Returns
    -------
    tuple[tuple[int, ...], np.dtype]
        Shape and type.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype
