"""Tables of images as written by Hugging Face's datasets: a column of encoded images, and one of labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from advbench.core.errors import DataUnavailable, UsageError
from advbench.data.formats import CorruptData

LABELS = ("label", "labels", "fine_label", "class", "target", "cls", "y")
MISSING = "reading Parquet and Arrow needs pyarrow: pip install 'advbench[parquet]'"


class Columns(NamedTuple):
    """Columns of a table.

    Parameters
    ----------
    image : str
        Name of the column of encoded images.
    label : str
        Name of the column of labels.
    classes : tuple[str, ...] or None
        Names of the classes, if the file has them.
    """

    image: str
    label: str
    classes: tuple[str, ...] | None


def arrow() -> Any:
    """Import pyarrow.

    Returns
    -------
    Any
        The module.

    Raises
    ------
    DataUnavailable
        When it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataUnavailable(MISSING) from None
    return pyarrow


def columns(schema: Any, features: Any, where: str) -> Columns:
    """Find the columns of images and labels in an Arrow schema, and class names in the metadata of datasets.

    Parameters
    ----------
    schema : Any
        Arrow schema.
    features : Any
        Metadata of datasets about the columns.
    where : str
        Origin of the table, for messages.

    Returns
    -------
    Columns
        The columns.

    Raises
    ------
    UsageError
        When one of them is absent.
    """
    types = arrow().types
    image = next((field.name for field in schema if _is_image(field.type, types)), None)
    known = {field.name.lower(): field.name for field in schema}
    label = next((known[name] for name in LABELS if name in known), None)
    if image is None or label is None:
        what = "encoded images" if image is None else "labels"
        told = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UsageError(f"{where} has no column of {what} (there are: {told[:300]})")
    return Columns(image, label, _names(features, label))


def _is_image(kind: Any, types: Any) -> bool:
    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type, types) for field in kind)
    return _is_bytes(kind, types)


def _is_bytes(kind: Any, types: Any) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def features_of(schema: Any) -> Any:
    """Return the metadata of datasets about the columns; None if there are none.

    Parameters
    ----------
    schema : Any
        Arrow schema.

    Returns
    -------
    Any
        Features by column.
    """
    try:
        return json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return None


def _names(features: Any, label: str) -> tuple[str, ...] | None:
    names = features.get(label, {}) if isinstance(features, dict) else {}
    names = names.get("names") if isinstance(names, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def content(value: Any, name: str) -> bytes:
    """Return the bytes of one image in a cell.

    Parameters
    ----------
    value : Any
        Cell, as Python sees it.
    name : str
        Name of the column.

    Returns
    -------
    bytes
        Encoded image.

    Raises
    ------
    OSError
        When the cell holds a path instead.
    """
    found = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(found, bytes):
        raise OSError("the table holds a path instead of the image: embed them, as push_to_hub does")
    return found


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Turn errors of pyarrow on a file into one line.

    Parameters
    ----------
    path : object
        Path of the file.

    Returns
    -------
    Iterator[None]
        Context manager.

    Raises
    ------
    DataUnavailable
        When the file can't be read, or is damaged (`CorruptData`).
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataUnavailable(f"can't read {path}: {error.strerror or error}") from None
    except (arrow().ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptData(
            f"{path} is damaged, or not what its name says: {' '.join(str(error).split())[:200]}"
        ) from None
