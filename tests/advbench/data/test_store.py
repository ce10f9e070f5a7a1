"""What `load` gives is the official data, from wherever it came, or an error that says what to do."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.files import write
from advbench.data import (
    DATASETS,
    CorruptData,
    DatasetInfo,
    embedded,
    info,
    load,
)
from advbench.data.formats import encode_cifar
from advbench.data.store import data_folder

from .conftest import CONTENTS


@pytest.fixture(autouse=True)
def empty_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADVBENCH_DATA_DIR", str(tmp_path / "data"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_embedded_mnist_is_the_official_files(split: str) -> None:
    files = DATASETS["mnist"].files[split]
    contents = dict(embedded.contents("mnist", split))
    assert list(contents) == [file.name for file in files]
    for file in files:
        file.check(contents[file.name])
        assert len(contents[file.name]) == file.size


def test_mnist_test_set() -> None:
    data = load("mnist")
    assert (data.images.shape, data.images.dtype) == ((10_000, 28, 28, 1), np.uint8)
    assert (data.labels.shape, data.labels.dtype) == ((10_000,), np.int32)
    assert data.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(data.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.images.mean() / 255 == pytest.approx(0.13251, abs=1e-5)  # the published mean of the test set
    assert (data.source, data.total) == ("embedded", 10_000)
    assert data.digest == hashlib.sha256(data.images.tobytes() + data.labels.astype("<i4").tobytes()).hexdigest()


def test_embedded_cifar_is_the_start_of_the_official_test_set() -> None:
    data = load("cifar10")
    assert data.images.shape == (1_000, 32, 32, 3)
    assert [data.classes[label] for label in data.labels[:5]] == ["cat", "ship", "ship", "airplane", "frog"]
    assert data.source == "embedded (first 1,000)"
    digest = hashlib.sha256(encode_cifar(data.images, data.labels)).hexdigest()
    assert digest == "8314c96d7cd65618193bab23acdd5d4c4af15bf6dd00a1781d55beedf3be1ef5"


def test_more_than_is_embedded_needs_a_fetch() -> None:
    data = load("cifar10")
    data.require(1_000)
    with pytest.raises(DataUnavailable, match="advbench data fetch cifar10"):
        data.require(1_001)
    with pytest.raises(UsageError, match="has 10,000 images"):
        data.require(10_001)
    for name, split in (("cifar10", "train"), ("cifar100", "test"), ("fashion-mnist", "train")):
        with pytest.raises(DataUnavailable, match=f"advbench data fetch {name}") as caught:
            load(name, split)
        assert caught.value.exit_code == 4


def test_unknown_names_are_usage_errors_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        load("cifra10")
    with pytest.raises(UsageError, match="did you mean 'train'"):
        load("mnist", "trian")


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.xz", "cifar10-test-1000.webp", "cifar10-test-1000.labels"])
def test_corrupt_embedded_file_is_named_with_both_digests(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "embedded"
    shutil.copytree(str(embedded.ROOT), copy)
    monkeypatch.setattr(embedded, "ROOT", copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    expected = json.dumps(json.loads((copy / "manifest.json").read_text()))
    with pytest.raises(CorruptData, match=f"embedded {name} is corrupt") as caught:
        load("cifar10" if name.startswith("cifar") else "mnist")
    wanted, found = str(caught.value).split("expected sha256 ")[1].split(";")[0].split(", found ")
    assert wanted in expected
    assert found == hashlib.sha256(content).hexdigest()


def store(spec: DatasetInfo, **changed: bytes) -> Path:
    folder = data_folder(spec.name)
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(changed.get(name[0], content))
    return folder


def test_stored_files_are_read_in_order(tiny: DatasetInfo) -> None:
    folder = store(tiny)
    data = load("tiny", "train")
    assert encode_cifar(data.images, data.labels) == CONTENTS["a.bin"] + CONTENTS["b.bin"]
    assert (data.source, data.total, len(data)) == (str(folder), 30, 30)


def test_corrupt_stored_file_is_moved_aside(tiny: DatasetInfo) -> None:
    wrong = CONTENTS["t.bin"][:-1] + b"!"
    folder = store(tiny, t=wrong)
    with pytest.raises(CorruptData, match="advbench data fetch tiny") as caught:
        load("tiny", "test")
    assert tiny.files["test"][0].digest in str(caught.value)
    assert hashlib.sha256(wrong).hexdigest() in str(caught.value)
    assert (folder / "t.bin.bad").read_bytes() == wrong
    assert not (folder / "t.bin").exists()


def test_given_folder_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_folder("mnist", tmp_path / "mine") == tmp_path / "mine" / "mnist"
    assert data_folder("mnist") == tmp_path / "data" / "mnist"
    monkeypatch.delenv("ADVBENCH_DATA_DIR")
    assert data_folder("mnist").parts[-2:] == ("data", "mnist")
    assert "advbench" in data_folder("mnist").parts


def test_info_tells_what_is_here(tiny: DatasetInfo) -> None:
    store(tiny, t=b"wrong")
    rows = {(row.name, row.split): row for row in info()}
    assert rows["mnist", "train"].present
    assert rows["mnist", "train"].where == "embedded"
    assert rows["tiny", "train"].digest_ok
    assert rows["cifar10", "test"].available == 1_000
    assert not rows["cifar10", "test"].present
    assert (rows["cifar100", "train"].available, rows["cifar100", "train"].digest_ok) == (0, None)
    assert rows["tiny", "test"].digest_ok is False
    assert "corrupt" in rows["tiny", "test"].problem


def test_write_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_loading_data_does_not_import_jax() -> None:
    code = "import sys, advbench.data, advbench.data.fetch; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_descriptions_agree_with_themselves() -> None:
    for name, spec in DATASETS.items():
        assert spec.name == name
        assert len(set(spec.classes)) == len(spec.classes) == (100 if name == "cifar100" else 10)
        assert spec.splits.keys() == spec.files.keys()
        pixels = int(np.prod(spec.shape))
        for split, n in spec.splits.items():
            assert sum(file.size for file in spec.files[split]) // n in (pixels + 1, pixels + 2)
