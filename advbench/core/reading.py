"""Options for reading user files: image size, class names, and files to skip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from advbench.core.errors import UsageError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
TRANSPARENT = ("keep", "black", "white")
LARGEST = 4096  # pixels on a side


@dataclass(frozen=True)
class Reading:
    """Options for reading image files.

    Attributes
    ----------
    resize : int, optional
        Pixels of the shorter side, the other in proportion, as torchvision's and timm's `Resize(int)`.
    crop : int, optional
        Pixels of the square cut from the middle, as `CenterCrop(int)`; without `resize`, of the image as it is.
    interpolation : str
        Pillow's filter for resizing.
    classes : tuple of str, optional
        Names of the classes, by label; by default the source's own.
    transparent : {"keep", "black", "white"}, optional
        Treatment of transparent images: keep a fourth channel, or the background colour; by default refuse them.
    skip_corrupt : bool
        Leave out images that can't be read, and count them, instead of refusing the whole.

    Examples
    --------
    >>> Reading(resize=256, crop=224).record()
    {'resize': 256, 'crop': 224}
    """

    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"
    classes: tuple[str, ...] | None = None
    transparent: str | None = None
    skip_corrupt: bool = False

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            size = getattr(self, name)
            if size is not None and not 1 <= size <= LARGEST:
                raise UsageError(f"--{name} {size} should be a number of pixels, from 1 to {LARGEST}")
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(f"--interpolation {self.interpolation!r} should be one of {', '.join(INTERPOLATIONS)}")
        if self.transparent is not None and self.transparent not in TRANSPARENT:
            raise UsageError(f"--transparent {self.transparent!r} should be one of {', '.join(TRANSPARENT)}")

    @classmethod
    def parse(
        cls,
        resize: int | None = None,
        crop: int | None = None,
        interpolation: str | None = None,
        classes: Path | None = None,
        transparent: str | None = None,
        skip_corrupt: bool = False,
    ) -> Reading:
        """Read options as typed.

        Parameters
        ----------
        resize, crop : int, optional
            Pixels, from 1 to `LARGEST`.
        interpolation : str, optional
            Pillow's filter; needs `resize`.
        classes : Path, optional
            File with a class name on each line.
        transparent : str, optional
            "keep", "black" or "white".
        skip_corrupt : bool, default False
            Leave out damaged images.

        Returns
        -------
        Reading
            The options.

        Raises
        ------
        UsageError
            For an impossible option, or a file that can't be read.
        """
        if interpolation and not resize:
            raise UsageError("--interpolation says how to resize: add --resize PIXELS")
        names = None if classes is None else class_names(classes)
        return cls(resize, crop, interpolation or cls.interpolation, names, transparent, skip_corrupt)

    def record(self) -> dict[str, Any]:
        """Return the options in JSON's types, without those that have their default.

        Returns
        -------
        dict[str, Any]
            Fields by name.
        """
        default = Reading()
        found = {name: value for name, value in asdict(self).items() if value != getattr(default, name)}
        if self.classes is not None:
            found["classes"] = list(self.classes)
        return found

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reading:
        """Read the output of `record`.

        Parameters
        ----------
        record : Mapping[str, Any]
            Fields by name; unknown ones are ignored.

        Returns
        -------
        Reading
            The options.

        Raises
        ------
        UsageError
            For a damaged record.
        """
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in record.items() if name in known}
        try:
            if given.get("classes") is not None:
                given["classes"] = tuple(map(str, given["classes"]))
            return cls(**given)
        except TypeError as error:
            raise UsageError(f"a record of how data were read is damaged: {error}") from None

    def __bool__(self) -> bool:
        return self != Reading()


def class_names(path: Path) -> tuple[str, ...]:
    """Read names of classes from a file, one a line, the first of label 0.

    Parameters
    ----------
    path : Path
        Text file in UTF-8.

    Returns
    -------
    tuple[str, ...]
        At least two names.

    Raises
    ------
    UsageError
        When the file can't be read, holds fewer than two names, an empty line between them, or a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"can't read class names from {path}: {getattr(error, 'strerror', 'not UTF-8 text')}"
        ) from None
    names = [line.strip() for line in lines]
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            what = f"{name!r} is there twice" if name else "it is empty"
            raise UsageError(f"{path}:{number}: {what}; write one class a line, the first of label 0")
    if len(names) < 2:
        raise UsageError(f"{path} names {len(names)} classes; write one a line, at least two")
    return tuple(names)
