"""One split of a data set, and the digest of its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.lazy import content_digest
from advbench.core.reading import Reading


class _Digest:
    """A digest as it was given; where none was, that of the content, computed when it is first asked for."""

    def __get__(self, data: Dataset | None, owner: type | None = None) -> str:
        if data is None:
            raise AttributeError("digest")  # so the field has no default
        if not data.__dict__["digest"]:
            data.__dict__["digest"] = content_digest(data.images, data.labels)
        found: str = data.__dict__["digest"]
        return found

    def __set__(self, data: Dataset, value: str) -> None:
        data.__dict__["digest"] = value


@dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    Attributes
    ----------
    name, split : str
        What it is called, and which part of it this is.
    images : array-like
        uint8 `[N, H, W, C]`: an array, or a `Lazy` that decodes those images that are asked for.
    labels : np.ndarray
        int32 `[N]`, each a position in `classes`.
    classes : tuple of str
        Their names.
    source : str
        Where they came from.
    digest : str
        sha256 of the image bytes followed by the labels as little-endian int32; computed when asked for if given as "".
    total : int
        Size of the whole split, of which these are the first N images.
    reading : Reading, optional
        How files of one's own were read; None for a published data set and for arrays.
    notes : tuple of str
        What whoever relies on these images should know, a line each.
    """

    name: str
    split: str
    images: Any
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str
    digest: str = _Digest()  # type: ignore[assignment]
    total: int  # type: ignore[misc]  # the field before it has no default either
    reading: Reading | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, (H, W, C)."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        names: Sequence[str] | None = None,
        *,
        name: str = "arrays",
        split: str = "test",
        layout: str | None = None,
    ) -> Dataset:
        """Make a data set of arrays.

        Parameters
        ----------
        images : array-like
            uint8, or float in [0, 1]; `[N, H, W, C]`, `[N, C, H, W]` or `[N, H, W]`. NumPy, JAX and PyTorch arrays
            will do, and a `Lazy`. Floats are rounded to the nearest of 256 levels; `notes` says so where that changed
            them.
        labels : array-like
            Integers `[N]` or `[N, 1]`, from 0.
        names : sequence of str, optional
            Of the classes; by default their numbers.
        name, split : str
            What results call them.
        layout : {"nhwc", "nchw"}, optional
            Order of the axes; by default as the shape tells: the axis of 1, 3 or 4 entries holds the channels.

        Returns
        -------
        Dataset

        Raises
        ------
        UsageError
            In one line, for another shape, type or range, one-hot labels, or a label without a name.

        Examples
        --------
        >>> import numpy as np
        >>> data = Dataset.from_arrays(np.zeros((2, 8, 8, 3), np.uint8), [0, 1], ["cat", "dog"], name="pets")
        >>> data.shape, data.classes
        ((8, 8, 3), ('cat', 'dog'))
        """
        from advbench.core.arrays import checked

        pixels, numbers, classes, notes = checked(images, labels, names, layout)
        return cls(name, split, pixels, numbers, classes, "memory", "", len(numbers), notes=notes)

    def require(self, n: int) -> None:
        """Raise unless the first `n` images are here: DataUnavailable if fetching would help, else UsageError."""
        if n > self.total:
            raise UsageError(f"{self.name} {self.split} has {self.total:,} images, fewer than the {n:,} asked for")
        if n > len(self):
            raise DataUnavailable(
                f"only the first {len(self):,} of {self.total:,} {self.name} {self.split} images are here and "
                f"{n:,} are needed; run: advbench data fetch {self.name}"
            )
