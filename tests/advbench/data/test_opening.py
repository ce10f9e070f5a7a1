"""Whatever form data have, they are the same data: images, labels, names and digest."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from advbench.core.errors import AdvbenchError, DataUnavailable, UsageError
from advbench.core.lazy import Lazy
from advbench.data import (
    CorruptData,
    Dataset,
    Reading,
    again,
    listing,
    load,
)

from . import own
from .own import IMAGES, LABELS, NAMES

DIGEST = hashlib.sha256(IMAGES.tobytes() + LABELS.astype("<i4").tobytes()).hexdigest()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    return tmp_path / "in"


def npz(place, **arrays):
    np.savez_compressed(place / "d.npz", **arrays)
    return place / "d.npz"


def pairs(place):
    np.save(place / "x_test.npy", IMAGES)
    np.save(place / "y_test.npy", LABELS)
    return place


def code(place, function):
    (place / "mine.py").write_text(own.CODE)
    return f"mine.py:{function}"


MAKERS = {
    "folder": lambda place: own.folder(place / "photos"),
    "split folders": lambda place: own.folder(place / "photos" / "Test").parent,
    "validation folder": lambda place: own.folder(place / "photos" / "valid").parent,
    "x_test": lambda place: npz(place, x_train=IMAGES[:2], y_train=LABELS[:2], x_test=IMAGES, y_test=LABELS),
    "images, labels": lambda place: npz(place, images=IMAGES, labels=LABELS, class_names=np.array(NAMES)),
    "image, label": lambda place: npz(place, image=IMAGES / 255, label=LABELS),
    "medmnist": lambda place: npz(place, test_images=IMAGES, test_labels=LABELS[:, None].astype(np.uint8)),
    "npy folder": pairs,
    "npy file": lambda place: pairs(place) / "x_test.npy",
    "tar": lambda place: own.shard(place / "test-000.tar"),
    "shards": lambda place: own.shard(place / "test-000.tar").parent,
    "csv": lambda place: own.table(place / "list.csv"),
    "csv of numbers": lambda place: own.table(place / "list.csv", words=False),
    "mat": lambda place: own.matlab(place / "test_32x32.mat"),
    "pair": lambda place: code(place, "pair"),
    "data set": lambda place: code(place, "whole"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_form_holds_the_same_data(place, kind):
    data = load(MAKERS[kind](place))
    np.testing.assert_array_equal(data.images, IMAGES)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.digest == DIGEST and data.total == 12 and data.images.dtype == np.uint8
    numbers = tuple(map(str, range(10 if kind == "mat" else 3)))
    assert data.classes == (NAMES if data.classes[0] == "ant" else numbers)
    assert data.split == {"validation folder": "val", "pair": "all", "folder": "all"}.get(
        kind, "all" if kind.startswith("image") else "test"
    )


@pytest.mark.parametrize("kind", ["parquet", "hub", "saved", "one of saved"])
def test_what_hugging_face_writes_holds_the_same_data(place, kind):
    if kind in ("saved", "one of saved"):
        path = own.saved(place / "saved", pa)
        path = path if kind == "saved" else path / "test"
    else:
        (place / "repo" / "data").mkdir(parents=True)
        path = own.parquet(place / "repo" / "data" / "test-00000-of-00001.parquet", pa)
        path = path if kind == "parquet" else place / "repo"
    data = load(path)
    np.testing.assert_array_equal(data.images, IMAGES)
    assert (data.digest, data.classes) == (DIGEST, NAMES)


@pytest.mark.parametrize("kind", ["folder", "tar", "csv"])
def test_what_does_not_fit_in_memory_is_decoded_as_it_is_asked_for(place, kind, monkeypatch):
    monkeypatch.setattr(listing, "KEEP", 0)
    data = load(MAKERS[kind](place))
    assert isinstance(data.images, Lazy) and data.digest == DIGEST and data.images.shape == IMAGES.shape
    for key in (3, -1, slice(2, 9, 3), [7, 1, 1], np.array([], int), LABELS == 1, (slice(1, 3), 2), (4, 0, 1)):
        np.testing.assert_array_equal(data.images[key], IMAGES[key])
    data.images.expect([5, 6, 7, 8])
    np.testing.assert_array_equal(data.images[[5, 6]], IMAGES[5:7])
    np.testing.assert_array_equal(np.asarray(data.images), IMAGES)
    assert np.array_equal(np.stack(list(data.images)), IMAGES)
    with pytest.raises(IndexError):
        data.images[12]


def test_a_file_that_changed_after_the_look_is_not_believed(place, monkeypatch):
    monkeypatch.setattr(listing, "KEEP", 0)
    data = load(own.folder(place / "photos"))
    (place / "photos" / "ant" / "00.png").write_bytes(b"gone")
    with pytest.raises(CorruptData, match=r"00\.png"):
        data.images[0]
    with pytest.raises(CorruptData, match="1 of 12"):  # the time of the file changed, so it is looked at again
        load("photos")


def test_the_look_is_remembered(place, monkeypatch):
    monkeypatch.setattr(listing, "KEEP", 0)
    told = []
    first = load(own.folder(place / "photos"), tell=lambda done, total: told.append((done, total)))
    assert told == [(12, 12)]
    assert load("photos", tell=lambda done, total: pytest.fail("looked again")).digest == first.digest


def test_published_names_come_first_and_a_folder_of_that_name_is_called_otherwise(place):
    own.folder(place / "mnist")
    assert load("mnist").shape == (28, 28, 1)
    assert load("./mnist").name == "mnist (own)"
    with pytest.raises(UsageError, match="as published"):
        load("mnist", reading=Reading(resize=8))


def test_a_split_that_serves_as_another(place):
    own.folder(place / "p" / "train", IMAGES[:4], LABELS[:4])
    with pytest.raises(UsageError, match=r"no test split \(there are: train\)"):
        load("p")
    own.folder(place / "p" / "val", IMAGES[4:], LABELS[4:])
    train, test = load("p", "train"), load("p")
    assert (train.split, test.split, train.classes, test.classes) == ("train", "val", NAMES, NAMES)
    assert train.notes == ("2 of 3 classes have no image: 'bee', 'cat'",)


def test_all_corrupt_images_are_named_or_left_out(place):
    own.folder(place / "p")
    for name, content in {"ant/00.png": b"", "bee/05.png": own.png(IMAGES[5])[:150], "cat/11.png": b"GIF89a"}.items():
        (place / "p" / name).write_bytes(content)
    with pytest.raises(CorruptData) as error:
        load("p")
    assert error.value.exit_code == 4
    assert all(
        name in str(error.value) for name in ("3 of 12", "ant/00.png", "bee/05.png", "cat/11.png", "--skip-corrupt")
    )
    left = load("p", reading=Reading(skip_corrupt=True))
    np.testing.assert_array_equal(left.images, np.delete(IMAGES, [0, 5, 11], 0))
    np.testing.assert_array_equal(left.labels, np.delete(LABELS, [0, 5, 11]))
    assert left.digest == hashlib.sha256(left.images.tobytes() + left.labels.astype("<i4").tobytes()).hexdigest()
    assert left.notes == ("3 of 12 images can't be read and were left out",)


def test_several_sizes_are_counted_and_brought_to_one(place):
    own.folder(place / "p", IMAGES[:8], LABELS[:8])
    (place / "p" / "bee" / "wide.png").write_bytes(own.png(np.zeros((6, 20, 3), np.uint8)))
    with pytest.raises(UsageError, match=r"2 sizes \(8 of 10x8, 1 of 6x20\).*--resize 256 --crop 224"):
        load("p")
    with pytest.raises(UsageError, match="add --crop 12"):
        load("p", reading=Reading(resize=12))
    data = load("p", reading=Reading(resize=12, crop=10))
    assert data.images.shape == (9, 10, 10, 3)
    assert data.digest != load("p", reading=Reading(resize=12, crop=10, interpolation="bicubic")).digest


def test_grey_among_colour_gets_three_channels(place):
    own.folder(place / "p")
    (place / "p" / "ant" / "00.png").write_bytes(own.png(IMAGES[0, ..., 0]))
    data = load("p")
    np.testing.assert_array_equal(data.images[0], IMAGES[0, ..., :1].repeat(3, -1))
    assert "1 of 12 images are grey" in data.notes[0]
    assert data.digest == hashlib.sha256(data.images.tobytes() + LABELS.astype("<i4").tobytes()).hexdigest()


def test_class_names_from_a_file_order_or_rename(place):
    own.folder(place / "p")
    assert (
        load("p", reading=Reading(classes=("cat", "dog", "ant", "bee"))).labels.tolist() == [2] * 4 + [3] * 4 + [0] * 4
    )
    renamed = load("p", reading=Reading(classes=("x", "y", "z")))
    assert renamed.classes == ("x", "y", "z") and renamed.labels.tolist() == LABELS.tolist()
    (place / "n.txt").write_bytes(b"\xef\xbb\xbfx\ny\nz\n")  # with a byte-order mark
    assert Reading.parse(classes=place / "n.txt").classes == ("x", "y", "z")
    with pytest.raises(UsageError, match="3 classes and --classes names 2"):
        load("p", reading=Reading(classes=("x", "y")))
    with pytest.raises(UsageError, match="label 2 has no name"):
        load(npz(place, images=IMAGES, labels=LABELS), reading=Reading(classes=("x", "y")))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\nb\n\nc", r"n.txt:3: it is empty"),
        ("a\nb\na", "'a' is there twice"),
        ("a", "1 classes"),
        (None, "No such file"),
    ],
)
def test_files_of_class_names_that_are_wrong(place, content, words):
    if content is not None:
        (place / "n.txt").write_text(content)
    with pytest.raises(UsageError, match=words):
        Reading.parse(classes=place / "n.txt")


def test_what_a_record_speaks_of_is_read_again_unless_it_is_code(place):
    own.folder(place / "p")
    reading = Reading(resize=9, crop=8, classes=("x", "y", "z"))
    data = load("p", reading=reading)
    same = again(data.name, data.source, data.split, data.reading.record())
    assert (same.digest, same.classes, same.reading) == (data.digest, data.classes, reading)
    made = load(code(place, "pair"))
    with pytest.raises(UsageError, match="--data"):
        again(made.name, made.source, made.split, {})
    with pytest.raises(UsageError, match="--data"):
        again("arrays", Dataset.from_arrays(IMAGES, LABELS).source, "test", {})
    with pytest.raises(DataUnavailable, match="--data"):
        again("q", "q", "test", {})


@pytest.mark.parametrize(
    ("function", "words"), [("wrong", "return .images, labels."), ("failing", "out of luck"), ("none", "no function")]
)
def test_functions_that_make_no_data(place, function, words):
    with pytest.raises(UsageError, match=words):
        load(code(place, function))


@pytest.mark.parametrize("kind", ["x_test", "tar", "mat", "npy file", "csv", "parquet", "saved"])
def test_files_that_are_cut_off_are_named(place, kind):
    """At many lengths: an error of ours with the file's name, or the very data, never anything else."""
    if kind in ("parquet", "saved"):
        path = own.parquet(place / "a.parquet", pa) if kind == "parquet" else own.saved(place / "s", pa)
        file = path if kind == "parquet" else path / "test" / "data-00000-of-00001.arrow"
    else:
        file = path = MAKERS[kind](place)
    whole = file.read_bytes()
    for length in [*range(0, 200, 23), *range(200, len(whole), len(whole) // 9), len(whole) - 1]:
        file.write_bytes(whole[:length])
        try:
            found = load(path)
        except AdvbenchError as error:
            assert error.exit_code == 4 or kind == "csv"
            assert file.name in str(error) or path.name in str(error)
        else:  # the tail of a table, or of an archive, may hold nothing that is needed
            np.testing.assert_array_equal(found.images, IMAGES[: len(found.images)])
            assert kind in ("csv", "tar", "saved", "mat")


def test_tar_members_are_read_where_they_lie_and_links_are_not_followed(place):
    import tarfile

    with tarfile.open(place / "t.tar", "w") as archive:
        link = tarfile.TarInfo("000.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(UsageError, match="no images"):
        load("t.tar")


def test_labels_without_images_and_images_without_labels(place):
    own.tar(place / "t.tar", {"a.png": own.png(IMAGES[0]), "b.png": own.png(IMAGES[1]), "b.cls": b"1"})
    with pytest.raises(UsageError, match="1 images have no label beside them"):
        load("t.tar")
    (place / "l.csv").write_text("path,label\nnone.png,1\n")
    with pytest.raises(DataUnavailable, match=r"none\.png"):
        load("l.csv")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("mnsit", UsageError, "did you mean 'mnist'"),
        ("no/where", DataUnavailable, "no/where"),
        ("in", UsageError, "subfolder"),
    ],
)
def test_what_is_no_data(place, name, kind, words):
    (place / "in").mkdir()
    with pytest.raises(kind, match=words):
        load(name)
