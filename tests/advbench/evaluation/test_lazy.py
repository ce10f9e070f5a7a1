"""Images that are decoded as they are asked for give the very results of those in memory, a few at a time."""

from dataclasses import replace

import numpy as np
import pytest

from advbench.certification import certify
from advbench.core import images
from advbench.core.lazy import (
    Chosen,
    Lazy,
    choose,
    chunks,
    content_digest,
)
from advbench.evaluation import (
    corrupted,
    evaluate,
    kept,
    verify,
)
from advbench.evaluation.kept import Filed, ImageStore
from advbench.evaluation.run import load_images
from advbench.evaluation.tally import AdversarialImages

from .conftest import SHAPE, N, attacks, timeless


class Counted(Lazy):
    """Rows of an array, one at a time; remembers how many were held ready at most."""

    def __init__(self, array):
        super().__init__(array.shape, array.dtype)
        self.array, self.made = array, []

    def one(self, index):
        self.made.append(index)
        return self.array[index]

    def __array__(self, *args, **options):
        pytest.fail("all images were asked for at once")


@pytest.fixture
def lazy(data, monkeypatch):
    """The data, of which no more than 10 images may be in memory as floats."""
    monkeypatch.setattr(images, "PART", 10 * 4 * 25)
    monkeypatch.setattr("advbench.core.lazy.CHUNK", 7 * 25)
    return replace(data, images=Counted(data.images), digest="")


def test_an_evaluation_is_the_same(model, data, lazy, threat, tmp_path, monkeypatch):
    specs = attacks("fgsm", "pgd:steps=5,rel_step_size=0.5")
    options = {"seed": 0, "batch_size": 8}
    now = evaluate(model, data, range(N), specs, threat, out=tmp_path / "a", **options)
    monkeypatch.setattr(kept, "MEMORY", 900)  # nine adversarial images
    monkeypatch.setattr("advbench.evaluation.run.MEMORY", 900)
    later = evaluate(model, lazy, range(N), specs, threat, out=tmp_path / "b", **options)
    assert timeless(later) == timeless(now) and later.clean.correct > later.robust.correct + 9
    few, filed = load_images(tmp_path / "a"), load_images(tmp_path / "b")
    assert isinstance(filed.x_adv, Filed) and filed.digest() == few.digest() == later.adversarial_digest
    np.testing.assert_array_equal(filed.x_adv[:], few.x_adv)
    assert (tmp_path / "a" / "adversarial.safetensors").stat().st_size > 0
    assert verify(tmp_path / "b", model=model, data=lazy).failures == []
    assert verify(tmp_path / "a", model=model, data=data).failures == []


def test_a_file_of_images_that_is_cut_off_is_told(tmp_path, monkeypatch):
    from advbench.core.errors import UsageError

    monkeypatch.setattr("advbench.evaluation.run.MEMORY", 100)
    found = ImageStore()
    found[0] = np.ones(SHAPE, np.float32)
    path = tmp_path / "adversarial.safetensors"
    whole = b"".join(kept.filed(np.zeros(9, np.int32), Counted(np.ones((9, *SHAPE), np.float32))))
    path.write_bytes(whole)
    assert load_images(tmp_path).x_adv.shape == (9, *SHAPE)
    for length in (101, 150, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="damaged"):
            load_images(tmp_path)
    path.write_bytes(b"\xff" * 200)
    with pytest.raises(UsageError, match="damaged"):
        load_images(tmp_path)


def test_corruptions_and_certificates_are_the_same(model, data, lazy, threat):
    assert corrupted.measure(model, lazy, range(N), ["impulse-noise"], [2], batch_size=4) == corrupted.measure(
        model, data, range(N), ["impulse-noise"], [2], batch_size=4
    )
    told = []
    proofs = [
        certify(model, each, range(20), threat, "ibp", batch_size=10, tell=lambda *done: told.append(done))
        for each in (data, lazy)
    ]
    assert proofs[0].rows == proofs[1].rows and told[-1] == (20, 20)


def test_digests_and_choices_do_not_need_all_of_them(data, lazy):
    at = np.array([5, 3, 50])
    assert content_digest(lazy.images, data.labels) == content_digest(data.images, data.labels) == lazy.digest
    part = choose(lazy.images, at)
    assert isinstance(part, Chosen) and part.shape == (3, *SHAPE)
    np.testing.assert_array_equal(np.concatenate(list(chunks(part))), data.images[at])
    np.testing.assert_array_equal(choose(lazy.images, slice(4, 9))[[1, 0]], data.images[[5, 4]])
    rows = choose(data.images, at)  # only the rows that are asked for
    assert isinstance(rows, Chosen) and rows.images is data.images
    np.testing.assert_array_equal(rows[1:], data.images[at[1:]])
    assert np.shares_memory(choose(data.images, slice(4, 9)), data.images)


def test_no_more_is_prepared_ahead_than_fits(data, monkeypatch):
    monkeypatch.setattr("advbench.core.lazy.AHEAD", 5 * 25)
    source = Counted(data.images)
    source.expect(range(N))
    np.testing.assert_array_equal(source[[0, 1]], data.images[:2])
    source[2]
    assert len(source._ready) <= 5 and set(source.made) <= set(range(8))
    source.expect([9])
    np.testing.assert_array_equal(source[9], data.images[9])
    assert not source._ready


def test_kept_images_are_the_same_near_and_far(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(6, *SHAPE)).astype(np.float32)
    monkeypatch.setattr(kept, "_held", {})
    monkeypatch.setattr(kept, "MEMORY", 3 * rows[0].nbytes)
    found = ImageStore()
    found |= {4: rows[0], 2: rows[1], 9: rows[2]}
    assert isinstance(found.stacked([2, 9], SHAPE), np.ndarray)
    found |= {1: rows[3], 4: rows[4], 7: rows[5]}
    assert sorted(found) == [1, 2, 4, 7, 9] and len(found) == 5 and 4 in found and 3 not in found
    stacked = found.stacked([1, 2, 4, 7, 9], SHAPE)
    assert isinstance(stacked, Filed)
    np.testing.assert_array_equal(stacked[:], rows[[3, 1, 4, 5, 2]])
    np.testing.assert_array_equal(found[4], rows[4])
    index = np.array([1, 2, 4, 7, 9], np.int32)
    assert AdversarialImages(index, stacked).digest() == AdversarialImages(index, rows[[3, 1, 4, 5, 2]]).digest()
