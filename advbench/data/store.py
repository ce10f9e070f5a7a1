"""The data folder: official files unchanged, one folder for each data set, checked whenever they are read."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from advbench.core.dataset import Dataset
from advbench.core.errors import DataUnavailable
from advbench.core.lazy import content_digest
from advbench.core.names import found
from advbench.data import embedded
from advbench.data.catalog import DATASETS, find
from advbench.data.formats import CorruptData
from advbench.data.spec import DatasetInfo, RawFile


def data_folder(name: str, data_dir: Path | None = None) -> Path:
    """Return the folder of a data set's files.

    It is a folder of its name in `data_dir`, else in ADVBENCH_DATA_DIR, else in the platform's cache folder.

    Parameters
    ----------
    name : str
        A name in `DATASETS`.
    data_dir : Path, optional
        Parent folder.

    Returns
    -------
    Path
        Path, which need not exist.

    Examples
    --------
    >>> from pathlib import Path
    >>> data_folder("mnist", Path("downloads")).as_posix()
    'downloads/mnist'
    """
    chosen = data_dir or os.environ.get("ADVBENCH_DATA_DIR")
    root = Path(chosen) if chosen else platformdirs.user_cache_path("advbench", appauthor=False) / "data"
    return root.expanduser() / name


def load(name: str, split: str = "test", *, data_dir: Path | None = None) -> Dataset:
    """Load one split of a published data set: from the data folder if complete, else the embedded images.

    Parameters
    ----------
    name : str
        A name in `DATASETS`.
    split : str, default 'test'
        "train" or "test".
    data_dir : Path, optional
        See `data_folder`.

    Returns
    -------
    Dataset
        `images` uint8 `[N, H, W, C]` in official order. N is the whole split, or 1,000 for the embedded CIFAR-10 test
        set.

    Raises
    ------
    UsageError
        When there is no such data set or split.
    CorruptData
        When a file's digest differs from the official one; a stored file is then moved to `<name>.bad`.
    DataUnavailable
        When the split is neither in the data folder nor embedded, or the folder can't be read.
    """
    spec = find(name)
    name, split = spec.name, found("split", split, spec.splits)
    folder = data_folder(name, data_dir)
    if all((folder / file.name).is_file() for file in spec.files[split]):
        try:
            contents = [read_checked(folder, file) for file in spec.files[split]]
        except OSError as error:
            raise DataUnavailable(f"{folder} can't be read: {error}") from error
        return _dataset(spec, split, contents, str(folder))
    if split not in embedded.splits(name):
        raise DataUnavailable(f"the {split} split of {name} is not in {folder}; run: advbench data fetch {name}")
    return _dataset(spec, split, [content for _, content in embedded.contents(name, split)], "embedded")


def _dataset(spec: DatasetInfo, split: str, contents: Sequence[bytes], source: str) -> Dataset:
    images, labels = spec.decode(contents)
    total = spec.splits[split]
    where = source if len(labels) == total else f"{source} (first {len(labels):,})"
    return Dataset(spec.name, split, images, labels, spec.classes, where, content_digest(images, labels), total)


def read_checked(folder: Path, file: RawFile) -> bytes:
    """Read a stored file; a corrupt one is moved to `<name>.bad`.

    Parameters
    ----------
    folder : Path
        Folder of the data set.
    file : RawFile
        Official file.

    Returns
    -------
    bytes
        The bytes.

    Raises
    ------
    CorruptData
        When the file is corrupt, naming both digests.
    """
    path = folder / file.name
    content = path.read_bytes()
    try:
        file.check(content)
    except CorruptData as error:
        with contextlib.suppress(OSError):  # a read-only folder: the message matters more
            path.replace(path.with_name(f"{path.name}.bad"))
        raise CorruptData(f"{path}: {error}; run: advbench data fetch {folder.name}") from error
    return content


@dataclass(frozen=True)
class Status:
    """Availability of one split.

    Parameters
    ----------
    name, split : str
        Data set and split.
    total : int
        Images of the whole split.
    available : int
        Images at hand.
    where : str
        Their place, "" if there are none.
    digest_ok : bool or None
        None if there is nothing to check.
    problem : str, default ''
        Description of a fault.
    """

    name: str
    split: str
    total: int
    available: int
    where: str
    digest_ok: bool | None
    problem: str = ""

    @property
    def present(self) -> bool:
        """True if the whole split is at hand."""
        return self.available == self.total


def info(data_dir: Path | None = None) -> list[Status]:
    """Check every split of every data set; all files are read and compared with their digests.

    Parameters
    ----------
    data_dir : Path, optional
        See `data_folder`.

    Returns
    -------
    list[Status]
        Availability of each split.
    """
    return [_status(spec, split, data_dir) for spec in DATASETS.values() for split in spec.splits]


def _status(spec: DatasetInfo, split: str, data_dir: Path | None) -> Status:
    try:
        found = load(spec.name, split, data_dir=data_dir)
    except CorruptData as error:
        return Status(spec.name, split, spec.splits[split], 0, "", False, str(error))
    except DataUnavailable:
        return Status(spec.name, split, spec.splits[split], 0, "", None)
    return Status(spec.name, split, found.total, len(found), found.source, True)
