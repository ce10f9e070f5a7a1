"""Files of extra data: sound ones are read, others are told apart in one line, and nothing is unpickled."""

import io
import zipfile

import numpy as np
import pytest

from advbench.core.errors import AdvbenchError, DataUnavailable, UsageError
from advbench.core.lazy import content_digest
from advbench.data import CorruptData
from advbench.data.extra import labelled, read, read_images

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 1, 0])


def written(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("plural", ["", "s"])
def test_both_spellings_are_read(tmp_path, plural):
    path = written(tmp_path / "x.npz", **{f"image{plural}": IMAGES, f"label{plural}": LABELS.astype(np.uint8)})
    extra = read(path, (4, 4, 1), 3)
    np.testing.assert_array_equal(extra.images, IMAGES)
    np.testing.assert_array_equal(extra.labels, LABELS)
    assert extra.labels.dtype == np.int32
    assert extra.digest == content_digest(IMAGES, LABELS)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": IMAGES}, "'label' or 'labels'"),
        ({"label": LABELS}, "'image' or 'images'"),
        ({"image": IMAGES, "images": IMAGES, "label": LABELS}, "one array"),
        ({"image": IMAGES / 255, "label": LABELS}, "uint8"),
        ({"image": IMAGES[:, :3], "label": LABELS}, r"\[N, 4, 4, 1\]"),
        ({"image": IMAGES[:0], "label": LABELS[:0]}, r"\[0, 4, 4, 1\]"),
        ({"image": IMAGES, "label": LABELS[:4]}, "5 images but 4 labels"),
        ({"image": IMAGES, "label": LABELS * 0.5}, "integers"),
        ({"image": IMAGES, "label": LABELS + 1}, "1 to 3"),
        ({"image": IMAGES, "label": LABELS - 1}, "-1 to 1"),
        ({"image": np.array([Evil()], object), "label": LABELS}, "object"),
        ({"image": IMAGES, "label": np.array([Evil()] * 5, object)}, "object"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, arrays, words):
    with pytest.raises(UsageError, match=words) as told:
        read(written(tmp_path / "x.npz", **arrays), (4, 4, 1), 3)
    assert "\n" not in str(told.value)


def test_a_header_that_promises_too_much_is_not_believed(tmp_path):
    path = tmp_path / "x.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 4, 4, 1)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", header.getvalue())
    with pytest.raises(UsageError, match="more than the"):
        read(path, (4, 4, 1), 3)


def test_damaged_and_missing_files_are_data_that_is_not_there(tmp_path):
    path = written(tmp_path / "x.npz", image=IMAGES, label=LABELS)
    content = path.read_bytes()
    with pytest.raises(DataUnavailable, match="No such file"):
        read(tmp_path / "absent.npz", (4, 4, 1), 3)
    for damaged in (b"", b"no archive", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptData, match="no sound"):
            read(path, (4, 4, 1), 3)
    for at in range(0, len(content), 7):  # whatever byte flips: read as it was, or refused
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            assert read(path, (4, 4, 1), 3).digest == content_digest(IMAGES, LABELS)
        except AdvbenchError as error:
            assert "\n" not in str(error)


def test_labels_are_what_the_model_predicts(tmp_path):
    images = np.zeros((5, 2, 2, 3), np.uint8)
    images[np.arange(5), ..., LABELS] = 255
    path = written(tmp_path / "x.npz", image=images)
    found = labelled(lambda x: x.mean((1, 2)), read_images(path), size=2)
    np.testing.assert_array_equal(found, LABELS)
