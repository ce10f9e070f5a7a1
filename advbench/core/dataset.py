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
    """A digest as given; if none was, that of the content, computed on first access."""

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
        Name of the data set, and of this part of it.
    images : array-like
        uint8 `[N, H, W, C]`: an array, or a `Lazy` that decodes images on demand.
    labels : np.ndarray
        int32 `[N]`, each a position in `classes`.
    classes : tuple of str
        Names of the classes.
    source : str
        Origin: path, "embedded" or "memory".
    digest : str
        sha256 of the image bytes, then the labels as little-endian int32; computed on first access if given as "".
    total : int
        Size of the whole split, of which these are the first N images.
    reading : Reading, optional
        Options by which user files were read; None for a published data set and for arrays.
    notes : tuple of str
        Remarks for users of these images, a line each.
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
        """Shape of one image, (H, W, C)."""
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
            are accepted, and a `Lazy`. Floats are rounded to the nearest of 256 levels; `notes` says so if that changed
            them.
        labels : array-like
            Integers `[N]` or `[N, 1]`, from 0.
        names : sequence of str, optional
            Names of the classes; by default their numbers.
        name, split : str
            Names in results.
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
        """Refuse if the first `n` images are not here.

        Parameters
        ----------
        n : int
            Number of images needed.

        Raises
        ------
        UsageError
            When the split has fewer images.
        DataUnavailable
            When fetching the data set would help.
        """
        if n > self.total:
            raise UsageError(f"{self.name} {self.split} has {self.total:,} images, fewer than the {n:,} asked for")
        if n > len(self):
            raise DataUnavailable(
                f"only the first {len(self):,} of {self.total:,} {self.name} {self.split} images are here and "
                f"{n:,} are needed; run: advbench data fetch {self.name}"
            )
