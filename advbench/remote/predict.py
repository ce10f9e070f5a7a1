"""The protocol with `instances` and `predictions`: TensorFlow Serving, KServe V1, and MLflow's `/invocations`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from advbench.core.errors import TargetUnavailable, UsageError
from advbench.core.preprocess import Preprocess
from advbench.remote.address import Address
from advbench.remote.pixels import PixelFormat, layout_for
from advbench.remote.protocols import checked
from advbench.remote.records import rows_of
from advbench.remote.settings import TargetSettings
from advbench.remote.transport import Refused, Transport

FLOATS = ("DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16")


@dataclass(frozen=True)
class Predict:
    """One model of such a server.

    Attributes
    ----------
    where : str
        The URL, for messages.
    path : str
        Path of requests.
    key : str or None
        Name of the output, if a prediction holds several.
    pixels, batch, name
        As for `Dialect`.
    """

    where: str
    path: str
    key: str | None  # of the outputs, where a prediction holds several
    pixels: PixelFormat
    batch: int
    name: str = "predict"

    @classmethod
    def found(
        cls, address: Address, settings: TargetSettings, about: Any, shape: tuple[int, ...], preprocess: Preprocess
    ) -> Self:
        """Read the metadata, if there are any.

        Parameters
        ----------
        address : Address
            The URL.
        settings : TargetSettings
            The target file.
        about : Any
            Metadata, or None.
        shape : tuple of int
            Image shape (H, W, C).
        preprocess : Preprocess
            Declared preprocessing.

        Returns
        -------
        Predict
            Ready for requests.

        Raises
        ------
        UsageError
            When the model does not take such images.
        """
        kind, dims = _signature(about)
        if kind not in (None, "DT_UINT8", *FLOATS):
            raise UsageError(f"{address} takes {ascii(kind)[:40]}; images can be sent as uint8 or floats")
        if dims and preprocess.layout is None:
            preprocess = replace(preprocess, layout=layout_for(dims[1:], shape, str(address)))
        return cls(
            where=str(address),
            path=address.path,
            key=settings.output,
            pixels=PixelFormat("uint8" if kind == "DT_UINT8" else settings.pixels or "0..1", preprocess),
            batch=dims[0] if dims and dims[0] > 0 else settings.images_per_request,
        )

    def ask(self, transport: Transport, encoded: np.ndarray, classes: int | None = None) -> np.ndarray:
        answer = transport.post(self.path, {"instances": encoded.tolist()})
        said = answer.get("predictions") if isinstance(answer, dict) else answer
        if not isinstance(said, list | dict):
            there = ", ".join(ascii(key)[:40] for key in list(answer)[:9]) if isinstance(answer, dict) else ""
            what = f" (there are: {there}); set `request` and `response` in a target file" if there else ""
            raise TargetUnavailable(f"{self.where} answered without predictions{what}")
        return checked(rows_of(said, self.key, classes, len(encoded), self.where), len(encoded), self.where)


def metadata(address: Address, transport: Transport) -> Any:
    """Get the metadata of a model; only TensorFlow Serving has any.

    Parameters
    ----------
    address : Address
        The URL.
    transport : Transport
        Sends the request.

    Returns
    -------
    JSON or None
        None if there are none.
    """
    if address.path.endswith(":predict"):
        with suppress(Refused):
            return transport.get(address.path.removesuffix(":predict") + "/metadata")
    return None


def _signature(about: Any) -> tuple[str | None, list[int]]:
    """Return type and dimensions of the only input, if the metadata contain them."""
    try:
        (tensor,) = about["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"].values()
        dims = [int(dim["size"]) for dim in tensor["tensor_shape"]["dim"]]
        return str(tensor["dtype"]), dims
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, []
