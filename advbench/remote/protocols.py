"""What protocols have in common, and which one a URL speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from advbench.core.errors import TargetUnavailable, UsageError
from advbench.core.outputs import Wanted, chosen, row_shape
from advbench.remote.address import Address
from advbench.remote.pixels import Pixels
from advbench.remote.settings import Settings
from advbench.remote.transport import Transport


class Dialect(Protocol):
    """How one target is spoken to."""

    @property
    def name(self) -> str:
        """Of the protocol, for reports."""

    @property
    def pixels(self) -> Pixels:
        """The form of images."""

    @property
    def batch(self) -> int:
        """The most images in a request."""

    def ask(self, transport: Transport, encoded: np.ndarray, classes: int | None) -> np.ndarray:
        """Answers for images encoded by `pixels`, at most `batch`; of several outputs the one that fits `classes`.

        Returns
        -------
        np.ndarray
            `[B, K]` or `[B]` (labels), as numbers came.

        Raises
        ------
        TargetUnavailable
            When the answer is not that.
        UsageError
            When several outputs could be meant.
        """


def protocol_of(address: Address, settings: Settings) -> str:
    """The protocol that the settings name, or the URL's path shows.

    Raises
    ------
    UsageError
        When neither does.
    """
    if settings.protocol or settings.request is not None:
        return settings.protocol or "template"
    if "/v2/models/" in address.path:
        return "v2"
    if address.path.endswith((":predict", "/invocations")):
        return "predict"
    raise UsageError(
        f"can't tell how to speak to {address}: expected .../v2/models/NAME, .../v1/models/NAME:predict, "
        ".../invocations, or a target file that says how"
    )


def fitting(arrays: Mapping[str, np.ndarray], classes: int | None, where: object) -> str:
    """Name of the output that holds scores, or else labels, by `outputs.chosen`.

    Parameters
    ----------
    arrays : mapping
        Outputs of numbers, each with a row or a number for each image.

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
    """A target's name for something, fit for a message."""
    return ascii(name)[1:-1][:40]


def checked(rows: np.ndarray | None, n: int, where: object) -> np.ndarray:
    """Rows for `n` images, or a TargetUnavailable."""
    if rows is None:
        raise TargetUnavailable(f"{where} answered outputs that are not finite numbers in rows of one length")
    rows = rows.reshape(row_shape(rows.shape)) if rows.ndim else rows
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if rows.ndim not in (1, 2) or len(rows) != n:
        raise TargetUnavailable(f"{where} answered outputs {list(rows.shape)} for {n} images; expected [{n}, classes]")
    return rows
