"""The common interface of protocols, and the protocol that belongs to a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from advbench.core.choice import Wanted, chosen, row_shape
from advbench.core.errors import TargetUnavailable, UsageError
from advbench.remote.address import Address
from advbench.remote.pixels import PixelFormat
from advbench.remote.settings import TargetSettings
from advbench.remote.transport import Transport


class Dialect(Protocol):
    """Requests and answers of one remote model."""

    @property
    def name(self) -> str:
        """Name of the protocol, for reports."""

    @property
    def pixels(self) -> PixelFormat:
        """Form of images."""

    @property
    def batch(self) -> int:
        """Largest number of images in a request."""

    def ask(self, transport: Transport, encoded: np.ndarray, classes: int | None) -> np.ndarray:
        """Send images, and return the outputs.

        Parameters
        ----------
        transport : Transport
            Sends the request.
        encoded : np.ndarray
            Images encoded by `pixels`, at most `batch`.
        classes : int or None
            Number of classes of the data, to choose among several outputs.

        Returns
        -------
        np.ndarray
            `[B, K]`, or `[B]` for labels, numbers unchanged.

        Raises
        ------
        TargetUnavailable
            When the answer has another form.
        UsageError
            When several outputs could be meant.
        """


def protocol_of(address: Address, settings: TargetSettings) -> str:
    """Return the protocol that the settings name, or that the path of the URL implies.

    Parameters
    ----------
    address : Address
        The URL.
    settings : TargetSettings
        The target file.

    Returns
    -------
    {"v2", "predict", "template"}
        The protocol.

    Raises
    ------
    UsageError
        When neither says so.
    """
    if settings.protocol or settings.request is not None:
        return settings.protocol or "template"
    if "/v2/models/" in address.path:
        return "v2"
    if address.path.endswith((":predict", "/invocations")):
        return "predict"
    raise UsageError(
        f"can't tell the protocol of {address}: expected .../v2/models/NAME, .../v1/models/NAME:predict, "
        ".../invocations, or a target file with `protocol`"
    )


def fitting(arrays: Mapping[str, np.ndarray], classes: int | None, where: object) -> str:
    """Return the name of the output that holds scores, or else labels, by `outputs.chosen`.

    Parameters
    ----------
    arrays : mapping
        Outputs of numbers, each with a row or a number for each image.
    classes : int or None
        Number of classes of the data.
    where : object
        The URL, for messages.

    Returns
    -------
    str
        A key of `arrays`.

    Raises
    ------
    UsageError
        When several could be meant.
    """
    if len(arrays) == 1:
        return next(iter(arrays))
    names = {shown(name): name for name in arrays}
    forms = {name: (arrays[own].dtype.kind == "f", arrays[own].shape) for name, own in names.items()}
    try:
        return names[chosen(forms, Wanted(None, classes), "name one as `output` in a target file")]
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def shown(name: str) -> str:
    """Make a name from a server fit for a message.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        At most 40 ASCII characters.
    """
    return ascii(name)[1:-1][:40]


def checked(rows: np.ndarray | None, n: int, where: object) -> np.ndarray:
    """Check that there is one row for each image.

    Parameters
    ----------
    rows : np.ndarray or None
        Outputs; None for outputs that are not numbers.
    n : int
        Number of images.
    where : object
        The URL, for messages.

    Returns
    -------
    np.ndarray
        `[n, K]` or `[n]`.

    Raises
    ------
    TargetUnavailable
        When the outputs have another form.
    """
    if rows is None:
        raise TargetUnavailable(f"{where} answered outputs that are not finite numbers in rows of one length")
    rows = rows.reshape(row_shape(rows.shape)) if rows.ndim else rows
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if rows.ndim not in (1, 2) or len(rows) != n:
        raise TargetUnavailable(f"{where} answered outputs {list(rows.shape)} for {n} images; expected [{n}, classes]")
    return rows
