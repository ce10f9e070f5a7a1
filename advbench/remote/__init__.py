"""Remote models, which only answer queries: from a URL or a target file to a `LoadedModel`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advbench.core.preprocess import AS_IS, Preprocess
from advbench.remote import predict, v2
from advbench.remote.address import SCHEMES, Address
from advbench.remote.protocols import Dialect, protocol_of
from advbench.remote.remote import Remote
from advbench.remote.settings import SUFFIX, TargetSettings
from advbench.remote.target import PROBE, Target
from advbench.remote.template import Template
from advbench.remote.transport import Transport

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

__all__ = ["Remote", "is_target", "open_target", "probed"]


def is_target(spec: str) -> bool:
    """Return whether a text names a remote model: a URL or a target file.

    Parameters
    ----------
    spec : str
        A name as typed.

    Returns
    -------
    bool
        By its form alone; nothing is opened.
    """
    return spec.lower().startswith(tuple(f"{scheme}:" for scheme in SCHEMES)) or spec.endswith(SUFFIX)


def open_target(spec: str, preprocess: Preprocess = AS_IS, queries: int | None = None) -> LoadedModel:
    """Open a remote model and read its metadata; no image is sent yet.

    Parameters
    ----------
    spec : str
        `https://host/v2/models/NAME`, `https://host/v1/models/NAME:predict`, `https://host/invocations`, or a target
        file, whose name ends in `.target.json`.
    preprocess : Preprocess
        The form of images that the model expects, if its metadata don't say so, or images must be normalised.
    queries : int, optional
        Query limit.

    Returns
    -------
    LoadedModel
        Without shape and classes, which are known once it is tried.

    Raises
    ------
    UsageError
        When the URL or the file is wrong.
    TargetUnavailable
        When the server does not answer, or not by the protocol.
    """
    from advbench.core.loaded import LoadedModel

    settings = TargetSettings.read(Path(spec)) if spec.endswith(SUFFIX) else TargetSettings(url=spec)
    address = Address.parse(settings.url)
    protocol = protocol_of(address, settings)
    transport = Transport(address, settings)
    about = _metadata(protocol, address, transport)

    def dialect(shape: tuple[int, ...]) -> Dialect:
        if protocol == "v2":
            return v2.V2.found(address, settings, about, shape, preprocess)
        if protocol == "template":
            return Template(address, settings, shape, preprocess)
        return predict.Predict.found(address, settings, about, shape, preprocess)

    identity = json.dumps([settings.model_dump(mode="json"), about, preprocess.record()], sort_keys=True)
    target = Target(dialect, transport, settings, queries)
    return LoadedModel(
        name=Path(spec).name.removesuffix(SUFFIX) if spec.endswith(SUFFIX) else _short(address),
        predict=Remote.of(target),
        shape=None,
        classes=None,
        dataset=None,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        record={"target": str(address)},
        access=target.access,
        preprocess=preprocess,
    )


def probed(model: LoadedModel, images: np.ndarray, classes: int) -> LoadedModel:
    """Try a remote model with a few images, to learn what it answers; return any other model unchanged.

    Parameters
    ----------
    model : LoadedModel
        The model.
    images : np.ndarray
        uint8 `[n, H, W, C]`.
    classes : int
        Number of classes of the data.

    Returns
    -------
    LoadedModel
        With its access and the number of pixel levels.

    Raises
    ------
    AdvbenchError
        As `Target.probe`.
    """
    if not isinstance(model.predict, Remote):
        return model
    target = model.predict.target
    target.probe(images[:PROBE].astype(np.float32) / np.float32(255), classes)
    return replace(model, access=target.access, levels=target.dialect(images.shape[1:]).pixels.levels)


def _metadata(protocol: str, address: Address, transport: Transport) -> Any:
    if protocol == "v2":
        return v2.metadata(address, transport)
    return predict.metadata(address, transport) if protocol == "predict" else None


def _short(address: Address) -> str:
    """Return a name for tables: that of the model, if the path has one."""
    names = [part for part in address.path.removesuffix(":predict").removesuffix("/infer").split("/") if part]
    return names[names.index("models") + 1] if "models" in names[:-1] else f"{address.host}:{address.port}"
