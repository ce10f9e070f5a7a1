"""A tiny data set in CIFAR's format, registered for the test, and a web server that misbehaves on request."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from advbench.data import DATASETS, DatasetInfo
from advbench.data.formats import decode_cifar, encode_cifar
from advbench.data.sources import tar_reader
from advbench.data.spec import RawFile


def records(n: int, seed: int) -> bytes:
    """`n` random CIFAR-10 records."""
    rng = np.random.default_rng(seed)
    return encode_cifar(rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n))


CONTENTS = {"a.bin": records(20, 1), "b.bin": records(10, 2), "t.bin": records(10, 3)}


def make_tar(path: Path, members: Mapping[str, bytes], **changes: object) -> Path:
    """A .tar.gz of regular files; `changes` are set on each member's header."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in changes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DatasetInfo:
    """Data set "tiny": train a.bin and b.bin, test t.bin; no sources of its own; the data folder is under tmp_path."""
    monkeypatch.setenv("ADVBENCH_DATA_DIR", str(tmp_path / "data"))

    def raw(name: str) -> RawFile:
        return RawFile(name, len(CONTENTS[name]), f"sha256:{hashlib.sha256(CONTENTS[name]).hexdigest()}")

    spec = dataclasses.replace(
        DATASETS["cifar10"],
        name="tiny",
        splits={"train": 30, "test": 10},
        files={"train": (raw("a.bin"), raw("b.bin")), "test": (raw("t.bin"),)},
        decode=functools.partial(decode_cifar, label_bytes=1, classes=10),
        archives={"tiny.tar.gz": tar_reader("tiny/")},
        sources=(),
    )
    monkeypatch.setitem(DATASETS, "tiny", spec)
    return spec


class Server(http.server.ThreadingHTTPServer):
    """Serves `pages`; breaks off after `cuts.pop(path)` bytes once; keeps every request in `seen`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.ranges = True
        self.seen: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.seen.append((self.path, wanted))
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(404)
            return
        start = 0
        if wanted and self.server.ranges:
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            assert match
            start = int(match[1])
            if start >= len(page):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(page) - 1}/{len(page)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(page) - start))
        self.end_headers()
        cuts = self.server.cuts.get(self.path)
        self.wfile.write(page[start : start + cuts.pop(0)] if cuts else page[start:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def packed() -> dict[str, bytes]:
    """The tiny data set as a web host has it: one .gz a file."""
    return {f"/{name}.gz": gzip.compress(content) for name, content in CONTENTS.items()}
