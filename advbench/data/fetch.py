"""Fetching of published data sets: sources in turn, each official file checked by its digest before it is kept."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from advbench.core.errors import DataUnavailable
from advbench.core.files import write
from advbench.data.catalog import find
from advbench.data.formats import CorruptData
from advbench.data.sources import Folder
from advbench.data.spec import (
    DatasetInfo,
    Progress,
    RawFile,
    Source,
)
from advbench.data.store import data_folder, read_checked


def fetch(
    name: str,
    *,
    data_dir: Path | None = None,
    sources: Sequence[Source | Path] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring all official files of a data set into the data folder.

    Parameters
    ----------
    name : str
        A name in `DATASETS`.
    data_dir : Path, optional
        See `advbench.data.data_folder`.
    sources : Sequence[Source or Path], optional
        Sources in turn, instead of the data set's own. A path is a folder that holds the official files, raw, as `.gz`,
        or in an official archive.
    progress : Progress, optional
        Called with the bytes done and the bytes in all (None if unknown) of each download.

    Returns
    -------
    Path
        Folder that holds the files.

    Raises
    ------
    UsageError
        When there is no such data set.
    DataUnavailable
        When every source failed; the message says how, and which file to place where by hand.
    """
    spec = find(name)
    name = spec.name
    folder = data_folder(name, data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = _missing(spec, folder)
    except OSError as error:
        raise DataUnavailable(f"{folder} can't be used: {error}; name another folder in ADVBENCH_DATA_DIR") from error
    failures = []
    for source in spec.sources if sources is None else sources:
        if not missing:
            break
        origin = Folder(source, spec.archives) if isinstance(source, Path) else source
        try:
            _take(origin, missing, folder, progress or (lambda done, total: None))
            if missing:
                failures.append(f"{origin}: lacks {', '.join(missing)}")
        except (OSError, CorruptData) as error:
            failures.append(f"{origin}: {error}")
    if missing:
        raise DataUnavailable(_advice(name, folder, failures, missing))
    return folder


def _missing(spec: DatasetInfo, folder: Path) -> dict[str, RawFile]:
    """List the files that are not in `folder` intact; a corrupt one is moved aside."""
    missing = {}
    for file in (file for files in spec.files.values() for file in files):
        try:
            read_checked(folder, file)
        except (FileNotFoundError, CorruptData):
            missing[file.name] = file
    return missing


def _take(source: Source, missing: dict[str, RawFile], folder: Path, progress: Progress) -> None:
    """Keep the missing files that `source` has, and remove them from `missing`."""
    with contextlib.closing(source.read(list(missing.values()), folder, progress)) as contents:
        for name, content in contents:
            if file := missing.get(name):
                file.check(content)
                write(folder / name, content)
                del missing[name]


def _advice(name: str, folder: Path, failures: Sequence[str], missing: dict[str, RawFile]) -> str:
    tried = "".join(f"\n  {failure}" for failure in failures) or "\n  no source was given"
    wanted = "".join(f"\n  {file.name} ({file.digest.replace(':', ' ')})" for file in missing.values())
    return f"{name} could not be fetched:{tried}\nor place these files in {folder}:{wanted}"
