"""Data inside the package: MNIST whole, and the first 1,000 CIFAR-10 test images."""

import hashlib
import io
import json
import lzma
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from advbench.data.formats import CorruptData, encode_cifar

ROOT = resources.files("advbench.data.embedded")
ROWS, COLUMNS = 25, 40  # tiles of the CIFAR sheet


def _entries(name: str) -> dict[str, list[dict[str, Any]]]:
    manifest = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
    splits: dict[str, list[dict[str, Any]]] = manifest.get(name, {}).get("splits", {})
    return splits


def splits(name: str) -> list[str]:
    """List the splits of a data set that are embedded, whole or in part.

    Parameters
    ----------
    name : str
        A name in `DATASETS`.

    Returns
    -------
    list[str]
        Names of splits.
    """
    return list(_entries(name))


def contents(name: str, split: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each official file of a split, or of the embedded part of it.

    Parameters
    ----------
    name : str
        A name in `DATASETS`.
    split : str
        An embedded split.

    Returns
    -------
    Iterator[tuple[str, bytes]]
        Names and bytes.

    Raises
    ------
    CorruptData
        When an embedded file, or its decoded content, differs from its sha256 in the manifest.
    """
    for entry in _entries(name)[split]:
        packed = [_checked(file, (ROOT / file).read_bytes(), digest) for file, digest in entry["files"].items()]
        content = lzma.decompress(packed[0]) if entry["codec"] == "xz" else _untile(packed[0], packed[1])
        yield entry["content"], _checked(entry["content"], content, entry["sha256"])


def _checked(name: str, content: bytes, expected: str) -> bytes:
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise CorruptData(f"embedded {name} is corrupt: expected sha256 {expected}, found {actual}; reinstall advbench")
    return content


def _untile(sheet: bytes, labels: bytes) -> bytes:
    """Convert a sheet of tiles, row by row, to CIFAR records."""
    with Image.open(io.BytesIO(sheet), formats=["WEBP"]) as image:
        pixels = np.asarray(image.convert("RGB"))
    tiles = pixels.reshape(ROWS, 32, COLUMNS, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    return encode_cifar(tiles, np.frombuffer(labels, np.uint8))
