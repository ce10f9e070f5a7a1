"""Weights that an ONNX file keeps in other files."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path, PureWindowsPath
from typing import Any

from advbench.core.errors import CorruptFile, UsageError


class ExternalData:
    """Reader of the files that a model file refers to, in the folder of the model only.

    `digest` is the running sha256 of everything read.
    """

    def __init__(self, model: Path):
        self.model, self.folder = model, model.resolve().parent
        self.digest = hashlib.sha256()

    def load(self, tensor: Any) -> None:
        """Load the data of a tensor into it.

        Parameters
        ----------
        tensor : TensorProto
            Changed in place.

        Raises
        ------
        UsageError
            When the data lies outside the model's folder, or can't be read.
        CorruptFile
            When its length does not fit the tensor's shape and type.
        """
        from onnx import TensorProto, helper

        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = self._inside(str(entries.get("location", "")))
        width = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        needed = math.prod(tensor.dims) * width
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
            size = path.stat().st_size
            if not 0 <= offset <= offset + length <= size or length != needed:
                raise CorruptFile(f"{self.model} wants {needed} bytes at {offset} of {path}, which has {size}")
            with path.open("rb") as file:
                file.seek(offset)
                payload = file.read(length)
        except OSError as error:
            raise UsageError(f"{self.model} keeps weights in {path}, which can't be read: {error.strerror}") from None
        self.digest.update(payload)
        tensor.raw_data, tensor.data_location = payload, TensorProto.DEFAULT
        del tensor.external_data[:]

    def _inside(self, location: str) -> Path:
        """Return the file, which must be in the folder after links are followed."""
        windows = PureWindowsPath(location)  # which knows both kinds of slash
        path = self.folder / location
        lawful = location and not windows.anchor and ".." not in windows.parts and "\0" not in location
        if lawful and (path := path.resolve()).is_relative_to(self.folder):
            if path.is_file():
                return path
            raise UsageError(f"{self.model} keeps weights in {path}, which is no file: put it there")
        raise UsageError(f"{self.model} keeps data at {location[:80]!r}, outside its own folder, which is refused")
