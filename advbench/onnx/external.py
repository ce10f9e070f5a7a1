"""Weights that an ONNX file keeps in other files beside itself."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path, PureWindowsPath
from typing import Any

from advbench.core.errors import CorruptFile, UsageError


class External:
    """Reads what a model file refers to, within the file's own folder only.

    `digest` is the running sha256 of all that was read.
    """

    def __init__(self, model: Path):
        self.model, self.folder = model, model.resolve().parent
        self.digest = hashlib.sha256()

    def load(self, tensor: Any) -> None:
        """Put a tensor's data into it.

        Raises
        ------
        UsageError
            When the data lies outside the model's folder, or can't be read.
        CorruptFile
            When it is not as long as the tensor's shape and type ask for.
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
        """The file meant, which must lie within the folder, links followed."""
        windows = PureWindowsPath(location)  # which knows both kinds of slash
        path = self.folder / location
        lawful = location and not windows.anchor and ".." not in windows.parts and "\0" not in location
        if lawful and (path := path.resolve()).is_relative_to(self.folder):
            if path.is_file():
                return path
            raise UsageError(f"{self.model} keeps weights in {path}, which is no file: put it there")
        raise UsageError(f"{self.model} keeps data at {location[:80]!r}, outside its own folder, which is refused")
