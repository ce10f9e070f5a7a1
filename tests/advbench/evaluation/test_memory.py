"""Memory by the number of images: nothing is kept of each but its row, however many there are."""

import tracemalloc
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from advbench.attacks.spec import AttackSpec
from advbench.core.lazy import Lazy
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.evaluation import corrupted, curve, evaluate, kept, verify
from advbench.evaluation.evaluator import Evaluator
from advbench.evaluation.growing import IncrementalEvaluation

SHAPE, BATCH = (40, 40, 3), 8
STORED, FLOATS = 4800, 19200  # bytes of one image in the data set, and of its adversarial image
FEW, MANY = 48, 240
THREATS = [ThreatSpec.parse("linf", eps) for eps in ("4/255", "8/255")]
FGSM = [AttackSpec.parse("fgsm", THREATS[0])]


class Grey(Lazy):
    """Images of one grey, brighter or darker than the middle by 2 levels or 6: the smaller eps breaks every other."""

    def one(self, index):
        return np.full(SHAPE, 128 + (2, -2, 6, -6)[index % 4], np.uint8)


ARRAY = Grey((MANY, *SHAPE))[:]


def bright(weights, x):
    return (x.mean((1, 2, 3))[:, None] - 128 / 255) * weights


MODEL = LoadedModel("brightness", Partial(bright, jnp.array([1.0, -1.0])), SHAPE, 2, None, "brightness")


def data(n):
    labels = (np.arange(n) % 2).astype(np.int32)
    return Dataset("grey", "test", Grey((n, *SHAPE)), labels, ("bright", "dark"), "made here", "", n)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """What may be in memory at once, for images 31 times smaller than those of 224x224."""
    for name, images in (("core.lazy.AHEAD", 16), ("core.lazy.CHUNK", 16), ("core.images.PART", 64)):
        monkeypatch.setattr(f"advbench.{name}", images * STORED)
    monkeypatch.setattr("advbench.evaluation.claims.PART", 8 * STORED * 16)
    monkeypatch.setattr("advbench.evaluation.verification.BATCH", 16)
    monkeypatch.setattr(kept, "_held", {})
    monkeypatch.setattr(kept, "MEMORY", 6 * FLOATS)
    monkeypatch.setattr("advbench.evaluation.run.MEMORY", 6 * FLOATS)


def attacked(n, out):
    return evaluate(MODEL, data(n), range(n), FGSM, THREATS[0], seed=0, batch_size=BATCH, out=out)


def digested(n, out):
    """An array of all images, which may be a file mapped into memory, is not copied."""
    return evaluator(replace(data(n), images=ARRAY[:n])).digest


def swept(n, out):
    return curve(MODEL, data(n), range(n), FGSM, THREATS, seed=0, batch_size=BATCH, out=out)


def evaluator(some):
    return Evaluator(MODEL, some, np.arange(len(some), dtype=np.int32), FGSM, THREATS[0], 0, BATCH)


def grown(n, out):
    growing = IncrementalEvaluation(evaluator(data(n)))
    for _ in range(3):
        growing.extend(n // 3)
    return growing.result()


def spoilt(n, out):
    return corrupted.measure(MODEL, data(n), range(n), ["brightness"], [1], batch_size=BATCH)


def checked(n, out):
    found = verify(out.parent / "runs" / str(n), model=MODEL, data=data(n))
    assert not found.failures
    return found


def growth(work, folder):
    """Bytes at the peak that each image more takes."""
    peaks = []
    for turn, n in enumerate((FEW, FEW, MANY)):  # the first turn compiles
        tracemalloc.start()
        try:
            work(n, folder / str(turn))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return (peaks[2] - peaks[1]) / (MANY - FEW)


@pytest.mark.parametrize("work", [attacked, digested, swept, grown, spoilt, checked])
def test_an_image_more_takes_less_than_it_is_stored_in(work, tmp_path):
    if work is checked:
        for n in (FEW, MANY):
            attacked(n, tmp_path / "runs" / str(n))
    assert growth(work, tmp_path) < STORED / 2


def test_the_measure_sees_adversarial_images_that_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MEMORY", 1 << 40)
    assert growth(attacked, tmp_path) > FLOATS / 2  # every other image is broken


def test_evaluations_at_once_share_the_memory_for_adversarial_images():
    """A gate has one for each threat model."""
    image = np.ones(SHAPE, np.float32)
    near, far = kept.ImageStore(), kept.ImageStore()
    for at in range(5):
        near[at] = image
    for at in range(2):
        far[at] = image
    assert isinstance(near.stacked([0], SHAPE), np.ndarray) and isinstance(far.stacked([0], SHAPE), kept.Filed)
    del near
    later = kept.ImageStore()
    later |= dict.fromkeys(range(6), image)
    assert isinstance(later.stacked([0], SHAPE), np.ndarray)
