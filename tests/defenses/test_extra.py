"""Extra data: their share of each batch, and that they are never validated on."""

import dataclasses

import numpy as np
import pytest

from advbench.defenses import Standard
from advbench.defenses.batches import (
    Streams,
    draw,
    place,
    shuffled,
)
from advbench.defenses.checkpoints import CheckpointError
from advbench.defenses.training import fit

from .tiny import LINF, RECIPE, Net, blobs, same

EXTRA = blobs(50, seed=7)


def test_each_batch_holds_its_share_of_them_and_none_is_held_out():
    streams = Streams.of(0)
    data = place(*blobs(100), 20, streams, EXTRA)
    alone = place(*blobs(100), 20, streams)
    np.testing.assert_array_equal(data.held, alone.held)
    np.testing.assert_array_equal(shuffled(data, streams, 0), shuffled(alone, streams, 0))
    own, extra = ({image.tobytes() for image in images} for images in (blobs(100)[0], EXTRA[0]))
    order, seen = shuffled(data, streams, 0), []
    for step in range(20):
        x, _, _ = draw(data, order, streams, step, step % 5, size=16, augment="none", extra=12)
        rows = [image.tobytes() for image in np.rint(np.asarray(x) * 255).astype(np.uint8)]
        assert [row in extra for row in rows] == [False] * 4 + [True] * 12
        assert set(rows[:4]) <= own
        seen += rows[4:]
    assert len(set(seen)) > 45  # of 50, in 240 draws


def test_labels_stay_with_their_images():
    streams = Streams.of(0)
    data = place(*blobs(100), 20, streams, EXTRA)
    x, y, _ = draw(data, shuffled(data, streams, 0), streams, 3, 0, size=16, augment="none", extra=8)
    light = np.asarray(x).reshape(16, 3, 12).mean(-1).argmax(-1)
    np.testing.assert_array_equal(light, y)


def test_an_epoch_stays_as_long_as_without_and_another_set_is_another_run(tmp_path):
    recipe = dataclasses.replace(RECIPE, extra_fraction=0.75)
    fitted = fit(Net(), Standard(), LINF, *blobs(), recipe, extra=EXTRA, out=tmp_path)
    assert fitted.history[-1]["step"] == 16  # two epochs of 128 / 16
    assert not same(fitted.module, fit(Net(), Standard(), LINF, *blobs(), recipe).module)
    with pytest.raises(CheckpointError, match="extra data was"):
        fit(Net(), Standard(), LINF, *blobs(), recipe, extra=blobs(50, seed=8), out=tmp_path, resume=True)


def test_a_batch_too_small_for_both_is_refused():
    with pytest.raises(ValueError, match=r"can't be 0\.01 extra"):
        fit(Net(), Standard(), LINF, *blobs(), dataclasses.replace(RECIPE, extra_fraction=0.01), extra=EXTRA)
