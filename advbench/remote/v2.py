"""The Open Inference Protocol, also KServe V2: Triton, MLServer, OpenVINO Model Server and others speak it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from advbench.core.errors import TargetUnavailable, UsageError
from advbench.core.preprocess import Preprocess
from advbench.remote.address import Address
from advbench.remote.pixels import PixelFormat, layout_for, numbers
from advbench.remote.protocols import checked
from advbench.remote.records import taken
from advbench.remote.settings import TargetSettings
from advbench.remote.transport import Refused, Transport

PATH = re.compile(r"(.*/v2/models/[^/]+(?:/versions/[^/]+)?)(?:/infer|/ready)?/?")
NO_METADATA = (404, 405, 501)  # statuses
FLOATS = ("FP32", "FP64", "FP16", "BF16")


@dataclass(frozen=True)
class V2:
    """One model of such a server.

    Attributes
    ----------
    where : str
        The URL, for messages.
    path : str
        Path of requests.
    tensor, datatype : str
        Name and type of the input.
    output : str or None
        Name of the output, if there are several.
    fixed : bool
        Every request must hold exactly `batch` images.
    described : bool
        The server describes its input.
    pixels, batch, name
        As for `Dialect`.
    """

    where: str
    path: str
    tensor: str
    datatype: str
    output: str | None
    pixels: PixelFormat
    batch: int
    fixed: bool  # whether every request must hold `batch` images
    described: bool  # whether the server says what it takes
    name: str = "v2"

    @classmethod
    def found(
        cls, address: Address, settings: TargetSettings, about: Any, shape: tuple[int, ...], preprocess: Preprocess
    ) -> Self:
        """Read the metadata of the model.

        Parameters
        ----------
        address : Address
            The URL.
        settings : TargetSettings
            The target file.
        about : Any
            Metadata.
        shape : tuple of int
            Image shape (H, W, C).
        preprocess : Preprocess
            Declared preprocessing.

        Returns
        -------
        V2
            Ready for requests.

        Raises
        ------
        UsageError
            When the model does not take such images.
        """
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
            pixels=PixelFormat("uint8" if datatype == "UINT8" else settings.pixels or "0..1", preprocess),
            batch=dims[0] if fixed else min(settings.images_per_request, _most(about)),
            fixed=fixed,
            described=bool(tensor),
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
        try:
            answer = transport.post(self.path, {"inputs": [tensor], **wanted})
        except Refused as error:
            if self.described or error.for_its_size:
                raise
            raise Refused(f"{error}; {self._undescribed(error)}", error.status) from None
        return checked(self._rows(answer, len(encoded), classes), len(encoded), self.where)[:n]

    def _undescribed(self, error: Refused) -> str:
        """Suggest a reason for an error where the server has no metadata."""
        if error.status == 404:
            return "is the model's name right?"
        return f"the server does not describe its input, which was sent as {self.tensor!r}: " + (
            "set `input` in a target file, and --input-layout if its layout is not [B, H, W, C]"
        )

    def _rows(self, answer: Any, n: int, classes: int | None) -> np.ndarray | None:
        """Return the only output, or else the one that `taken` chooses."""
        outputs = answer.get("outputs") if isinstance(answer, dict) else None
        if not isinstance(outputs, list) or not outputs or not all(isinstance(o, dict) for o in outputs):
            raise TargetUnavailable(f"{self.where} answered without outputs")
        arrays = {str(o.get("name", at)): _shaped(o) for at, o in enumerate(outputs)}
        if len(arrays) == 1 and self.output in (None, *arrays):
            return next(iter(arrays.values()))
        floats = {name: a for name, a in arrays.items() if a is not None and a.dtype.kind == "f" and a.size > n}
        return taken(floats if floats and self.output is None else arrays, self.output, classes, n, self.where)


def model_path(address: Address) -> str:
    """Return the path of the metadata.

    Parameters
    ----------
    address : Address
        The URL.

    Returns
    -------
    str
        Like "/v2/models/NAME".

    Raises
    ------
    UsageError
        For a URL of another form.
    """
    if not (match := PATH.fullmatch(address.path)):
        raise UsageError(f"{address} should end like .../v2/models/NAME or .../v2/models/NAME/versions/1")
    return match[1]


def metadata(address: Address, transport: Transport) -> dict[str, Any]:
    """Get the metadata of a model; some servers have none.

    Triton keeps the largest batch in the configuration of the model, an extension of the protocol that others lack.

    Parameters
    ----------
    address : Address
        The URL.
    transport : Transport
        Sends the requests.

    Returns
    -------
    dict
        Empty if there are none.

    Raises
    ------
    TargetUnavailable
        When the server fails, or the metadata have another form.
    """
    path = model_path(address)
    try:
        about = transport.get(path)
    except Refused as error:
        if error.status not in NO_METADATA:
            raise
        return {}
    if not isinstance(about, dict):
        raise TargetUnavailable(f"{address.origin}{path} answered metadata that is not an object")
    if "max_batch_size" in about:
        return about
    try:
        config = transport.get(f"{path}/config")
    except TargetUnavailable:  # whatever a server says of a path that it doesn't know
        return about
    most = config.get("max_batch_size") if isinstance(config, dict) else None
    return about if most is None else {**about, "max_batch_size": most}


def _most(about: dict[str, Any]) -> int:
    """Return the largest number of images in a request, as far as the metadata say."""
    inner = about.get("parameters")
    said = [place.get("max_batch_size") for place in (about, inner) if isinstance(place, dict)]
    return min((most for most in said if type(most) is int and most > 0), default=sys.maxsize)


def _shaped(output: dict[str, Any]) -> np.ndarray | None:
    array, dims = numbers(output.get("data")), output.get("shape")
    if array is None or not isinstance(dims, list) or not all(type(d) is int and d >= 0 for d in dims):
        return None
    if array.size != np.prod(dims, dtype=object):
        return None
    return array.reshape(dims).astype(float if str(output.get("datatype")) in FLOATS else array.dtype)


def _tensor(inputs: Any, name: str | None, where: str) -> dict[str, Any]:
    """Return the description of the input; empty if the server gives none."""
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
        raise TargetUnavailable(f"{where} answered metadata whose shape is not a list of integers")
    return shape
