"""The Open Inference Protocol, also KServe V2: Triton, MLServer, OpenVINO Model Server and others speak it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from advbench.core.errors import TargetUnavailable, UsageError
from advbench.core.preprocess import Preprocess
from advbench.remote.address import Address
from advbench.remote.pixels import Pixels, layout_for, numbers
from advbench.remote.protocols import checked, fitting
from advbench.remote.settings import Settings
from advbench.remote.transport import Transport

PATH = re.compile(r"(.*/v2/models/[^/]+(?:/versions/[^/]+)?)(?:/infer|/ready)?/?")
FLOATS = ("FP32", "FP64", "FP16", "BF16")


@dataclass(frozen=True)
class V2:
    """One model of such a server. `name`, `pixels` and `batch` as a `Dialect` has them."""

    where: str
    path: str
    tensor: str
    datatype: str
    output: str | None
    pixels: Pixels
    batch: int
    fixed: bool  # whether every request must hold `batch` images
    name: str = "v2"

    @classmethod
    def found(
        cls, address: Address, settings: Settings, about: Any, shape: tuple[int, ...], preprocess: Preprocess
    ) -> Self:
        """Understand the model's metadata."""
        path = model_path(address)
        where = address.origin + path
        tensor = _tensor(about.get("inputs"), settings.input, where)
        datatype, dims = str(tensor.get("datatype", "FP32")), _dims(tensor.get("shape"), where)
        if datatype != "UINT8" and datatype not in FLOATS:
            raise UsageError(f"{where} takes {ascii(datatype)[:40]}; images can be sent as UINT8 or floats")
        if dims and preprocess.layout is None:
            preprocess = replace(preprocess, layout=layout_for(dims[1:], shape, where))
        fixed = bool(dims) and dims[0] > 0
        return cls(
            where=where,
            path=f"{path}/infer",
            tensor=settings.input or str(tensor.get("name", "input-0")),
            datatype=datatype,
            output=settings.output,
            pixels=Pixels("uint8" if datatype == "UINT8" else settings.pixels or "0..1", preprocess),
            batch=dims[0] if fixed else settings.images_per_request,
            fixed=fixed,
        )

    def ask(self, transport: Transport, encoded: np.ndarray, classes: int | None = None) -> np.ndarray:
        n = len(encoded)
        if self.fixed:
            encoded = np.resize(encoded, (self.batch, *encoded.shape[1:]))
        tensor = {
            "name": self.tensor,
            "shape": list(encoded.shape),
            "datatype": self.datatype,
            "data": encoded.ravel().tolist(),
        }
        wanted = {"outputs": [{"name": self.output}]} if self.output else {}
        answer = transport.post(self.path, {"inputs": [tensor], **wanted})
        return checked(self._rows(answer, classes), len(encoded), self.where)[:n]

    def _rows(self, answer: Any, classes: int | None) -> np.ndarray | None:
        """The output named, or else the one of floats that fits the classes, or else the only or first one."""
        outputs = answer.get("outputs") if isinstance(answer, dict) else None
        if not isinstance(outputs, list) or not outputs or not all(isinstance(o, dict) for o in outputs):
            raise TargetUnavailable(f"{self.where} answered without outputs")
        if self.output:
            outputs = [o for o in outputs if o.get("name") == self.output]
            if not outputs:
                raise TargetUnavailable(f"{self.where} answered without output {self.output!r}")
        arrays = {ascii(o.get("name", at))[:40].strip("'"): _shaped(o) for at, o in enumerate(outputs)}
        scores = {n: a for n, a in arrays.items() if a is not None and a.dtype.kind == "f" and a.ndim == 2}
        if len(arrays) > 1 and (wide := {n: a for n, a in scores.items() if a.shape[1] > 1}):
            return wide[fitting(wide, classes, self.where)]
        return next(iter(arrays.values()))


def model_path(address: Address) -> str:
    """The path of the model's metadata."""
    if not (match := PATH.fullmatch(address.path)):
        raise UsageError(f"{address} should end like .../v2/models/NAME or .../v2/models/NAME/versions/1")
    return match[1]


def metadata(address: Address, transport: Transport) -> dict[str, Any]:
    """What the server says of the model."""
    path = model_path(address)
    about = transport.get(path)
    if not isinstance(about, dict):
        raise TargetUnavailable(f"{address.origin}{path} answered metadata that is not an object")
    return about


def _shaped(output: dict[str, Any]) -> np.ndarray | None:
    array, dims = numbers(output.get("data")), output.get("shape")
    if array is None or not isinstance(dims, list) or not all(type(d) is int and d >= 0 for d in dims):
        return None
    if array.size != np.prod(dims, dtype=object):
        return None
    return array.reshape(dims).astype(float if str(output.get("datatype")) in FLOATS else array.dtype)


def _tensor(inputs: Any, name: str | None, where: str) -> dict[str, Any]:
    """What is said of the input; some servers say nothing."""
    tensors = [t for t in inputs if isinstance(t, dict)] if isinstance(inputs, list) else []
    if name is not None and tensors:
        tensors = [t for t in tensors if t.get("name") == name]
        if not tensors:
            raise UsageError(f"{where} has no input {name!r}")
    if len(tensors) > 1:
        names = ", ".join(ascii(t.get("name"))[:40] for t in tensors[:9])
        raise UsageError(f"{where} takes several tensors ({names}): name one as `input` in a target file")
    return tensors[0] if tensors else {}


def _dims(shape: Any, where: str) -> list[int]:
    if shape is None or shape == []:
        return []
    if not isinstance(shape, list) or not all(type(d) is int for d in shape) or len(shape) > 8:
        raise TargetUnavailable(f"{where} answered metadata with a shape that is none")
    return shape
