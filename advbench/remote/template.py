"""Any other JSON protocol: a target file holds a template of the request, and the path to the outputs in the answer."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import numpy as np
from PIL import Image

from advbench.core.errors import TargetUnavailable, UsageError
from advbench.core.preprocess import Preprocess
from advbench.remote.address import Address
from advbench.remote.pixels import PixelFormat
from advbench.remote.protocols import checked
from advbench.remote.records import rows_of
from advbench.remote.settings import TargetSettings
from advbench.remote.transport import Transport

PLACES: Final = {
    "{{images}}": "nested lists of several images",
    "{{image}}": "nested lists of one image",
    "{{png}}": "one image as PNG in base64",
}


class Template:
    """A remote model with a protocol of its own; attributes as for `Dialect`."""

    name = "template"

    def __init__(self, address: Address, settings: TargetSettings, shape: tuple[int, ...], preprocess: Preprocess):
        places = set(_places(settings.request))
        if len(places) != 1:
            known = ", ".join(f'"{place}" ({what})' for place, what in PLACES.items())
            raise UsageError(f"`request` in the target file should hold one of {known}")
        if settings.response is None:
            raise UsageError(
                'a target file with `request` needs `response`, the way to the outputs: "results.*.scores"'
            )
        (self.place,) = places
        self.where, self.path, self.key = str(address), address.path, settings.output
        self.request, self.steps = settings.request, [step for step in settings.response.split(".") if step]
        self.pixels = PixelFormat("uint8" if self.place == "{{png}}" else settings.pixels or "0..1", preprocess)
        if self.place == "{{png}}" and (shape[2] not in (1, 3) or preprocess):
            raise UsageError("only grey and colour images as they are can be sent as PNG")
        self.batch = settings.images_per_request if self.place == "{{images}}" else 1

    def ask(self, transport: Transport, encoded: np.ndarray, classes: int | None = None) -> np.ndarray:
        if self.place == "{{png}}":
            filling: Any = _png(encoded[0])
        else:
            filling = encoded.tolist() if self.place == "{{images}}" else encoded[0].tolist()
        answer = transport.post(self.path, _filled(self.request, self.place, filling))
        said = self._followed(answer, self.steps)
        if isinstance(said, dict) and len(encoded) == 1 and not any(isinstance(each, list) for each in said.values()):
            said = [said]  # a record
        rows = rows_of(said, self.key, classes, len(encoded), self.where)
        if rows is not None and len(encoded) == 1 and rows.ndim < 2:  # a lone image may come without its batch
            rows = rows.reshape(1, -1)
        return checked(rows, len(encoded), self.where)

    def _followed(self, answer: Any, steps: list[str]) -> Any:
        """Return the value at a path of keys, indices, and `*` for each element of a list."""
        for at, step in enumerate(steps):
            if step == "*" and isinstance(answer, list):
                return [self._followed(each, steps[at + 1 :]) for each in answer]
            try:
                answer = answer[int(step)] if isinstance(answer, list) else answer[step]
            except (KeyError, IndexError, ValueError, TypeError):
                raise TargetUnavailable(
                    f"{self.where} answered nothing at {'.'.join(steps[: at + 1])!r} of `response`"
                ) from None
        return answer


def _places(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [place for value in node.values() for place in _places(value)]
    if isinstance(node, list):
        return [place for value in node for place in _places(value)]
    return [node] if isinstance(node, str) and node in PLACES else []


def _filled(node: Any, place: str, filling: Any) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, place, filling) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, place, filling) for value in node]
    return filling if node == place else node


def _png(image: np.ndarray) -> str:
    """Encode a uint8 image [H, W, C] as PNG, which is lossless, in base64."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
