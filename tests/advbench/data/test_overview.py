"""What an inspection says of a folder, of arrays and of published data."""

import io

import numpy as np
import pytest
from PIL import Image

from advbench.core.reading import Reading
from advbench.data import load
from advbench.data.overview import inspect

from . import own
from .own import IMAGES, LABELS, NAMES


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_of_several_sizes_is_described_without_being_refused(place):
    own.folder(place / "p" / "train")
    own.folder(place / "p" / "val", IMAGES[:6], LABELS[:6])
    (place / "p" / "val" / "ant" / "again.png").write_bytes(own.png(IMAGES[0]))
    (place / "p" / "val" / "bee" / "wide.png").write_bytes(own.png(np.full((4, 9, 3), 7, np.uint8)))
    (place / "p" / "val" / "bee" / "deep.png").write_bytes(own.png(np.zeros((4, 4), np.uint16)))
    (place / "p" / "val" / "bee" / "none.png").write_bytes(b"")
    kind, (train, val), sheet = inspect("p")
    assert kind == "folder of images" and (train.split, val.split) == ("train", "val")
    assert train.digest == load("p", "train").digest and (train.images, train.twice, train.elsewhere) == (12, 0, {})
    assert (train.low, train.high) == (IMAGES.min(), IMAGES.max())
    assert val.sizes == {"10x8x3": 7, "4x9x3": 1} and val.digest == "" and val.images == 8
    assert val.counts == {"ant": 5, "bee": 3, "cat": 0} and val.twice == 1
    assert len(val.elsewhere["train"]) == 7 and "16 bits" in val.undeclared[0] and "empty" in val.corrupt[0]
    assert val.notes == ("1 of 3 classes have no image: 'cat'",)
    assert Image.open(io.BytesIO(sheet)).size[0] > 300
    _, (_, cut), _ = inspect("p", Reading(resize=8, crop=6))
    assert cut.sizes == {"6x6x3": 8}


def test_thumbnails_are_the_images_one_of_each_class_first(place):
    flat = np.broadcast_to(np.array([10, 200, 90], np.uint8)[LABELS][:, None, None, None], IMAGES.shape)
    own.folder(place / "p", flat)
    sheet = np.asarray(Image.open(io.BytesIO(inspect("p")[2])))
    assert [sheet[52, 52 + 100 * cell].tolist() for cell in range(4)] == [[10] * 3, [200] * 3, [90] * 3, [10] * 3]


def test_arrays_and_published_data(place, monkeypatch):
    np.savez(
        place / "d.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[3:5], y_test=LABELS[3:5], names=np.array(NAMES)
    )
    kind, (train, test), _ = inspect("d.npz")
    assert kind == "NumPy archive" and train.counts == dict.fromkeys(NAMES, 4)
    assert test.elsewhere == {"train": ("image 0", "image 1")} and test.digest == load("d.npz").digest
    monkeypatch.setenv("ADVBENCH_DATA_DIR", str(place))
    kind, (only,), _ = inspect("cifar10")
    assert kind == "published data set" and only.images == 1000 and only.sizes == {"32x32x3": 1000}
