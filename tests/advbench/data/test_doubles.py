"""Images that are in two splits, the split that chooses weights, and shards that can't be read as they are."""

import numpy as np
import pytest

from advbench.core.errors import UsageError
from advbench.data import Reading, doubles, listing, load
from advbench.data.opening import validation
from advbench.data.overview import inspect

from . import own
from .own import IMAGES, LABELS, NAMES


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    return tmp_path / "in"


def folders(place):
    """Images 0 to 5 to train on, 4 to 9 to test on, and 10 and 11 to validate on; every class in each."""
    for split, some in (("train", slice(0, 6)), ("test", slice(4, 10)), ("val", slice(10, 12))):
        own.folder(place / "photos" / split, IMAGES[some], np.arange(12)[some] % 3)
    for name in NAMES:
        (place / "photos" / "val" / name).mkdir(exist_ok=True)
    return "photos"


def twice(data):
    return [note for note in data.notes if " too, " in note]


@pytest.mark.parametrize("keep", [listing.KEEP, 0])
def test_images_in_another_split_are_told_of_files(place, monkeypatch, keep):
    monkeypatch.setattr(listing, "KEEP", keep)
    photos = folders(place)
    assert twice(load(photos)) == ["2 of 6 images are in train too, the first of them number 2"]
    assert twice(load(photos, "train"))[0].startswith("2 of 6 images are in test too")
    assert twice(load(photos, "val")) == []


def test_splits_of_many_files_are_compared_only_where_they_were_looked_at(place, monkeypatch):
    monkeypatch.setattr(doubles, "FEW", 5)
    photos = folders(place)
    assert twice(load(photos)) == []
    inspect(photos)
    assert len(twice(load(photos))) == 1


def test_images_in_another_split_are_told_of_arrays(place, monkeypatch):
    np.savez("d.npz", x_train=IMAGES[:6], y_train=LABELS[:6], x_test=IMAGES[5:], y_test=LABELS[5:])
    assert twice(load("d.npz")) == ["1 of 7 images are in train too, the first of them number 0"]
    monkeypatch.setattr(doubles, "LARGEST", 100)
    assert twice(load("d.npz")) == []


def test_code_is_not_run_for_it(place):
    head = "import numpy as np\ndef make(split):\n    assert split == 'test'\n"
    code = head + "    return np.zeros((2, 8, 8, 1), np.uint8), [0, 1]\n"
    (place / "mine.py").write_text(code)
    assert twice(load("mine.py:make")) == []


def test_what_is_wrong_with_another_split_matters_to_whoever_asks_for_it(place):
    photos = folders(place)
    (place / "photos" / "train" / "ant" / "00.png").write_bytes(b"no image")
    assert len(twice(load(photos, reading=Reading()))) == 1  # number 3 is still there


def test_val_chooses_weights_only_where_attacks_have_a_split_of_their_own(place):
    photos = folders(place)
    found = validation(photos)
    assert found is not None and (found.split, len(found)) == ("val", 2)
    (place / "photos" / "test").rename(place / "elsewhere")
    assert validation(photos) is None and load(photos).split == "val"
    assert validation("mnist") is None


@pytest.mark.parametrize(
    ("name", "tool"), [("a.tar.gz", "gunzip"), ("a.tgz", "gunzip"), ("a.tar.zst", "unzstd"), ("a.TAR.XZ", "unxz")]
)
def test_compressed_shards_are_refused_by_name(place, name, tool):
    (place / name).write_bytes(b"")
    for path in (place / name, place):
        with pytest.raises(UsageError, match=rf"{name} is compressed.*\({tool}\)"):
            load(path)
