"""Order, augmentation and held-out images depend on the seed and the step, and on nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.defenses.batches import (
    PAD,
    Streams,
    draw,
    gather,
    place,
    shuffled,
)

from .tiny import blobs


@pytest.fixture(scope="module")
def data():
    return place(*blobs(100), 20, Streams.of(0))


def test_every_image_is_either_trained_on_or_held_out(data):
    assert sorted([*data.train.tolist(), *data.held.tolist()]) == list(range(100))
    assert len(data.held) == 20
    other = place(*blobs(100), 20, Streams.of(1))
    assert set(other.held.tolist()) != set(data.held.tolist())


def test_an_epoch_visits_every_training_image_once_in_an_order_of_its_own(data):
    first, second = (shuffled(data, Streams.of(0), epoch) for epoch in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == sorted(data.train.tolist())
    assert first.tolist() != second.tolist()
    np.testing.assert_array_equal(first, shuffled(data, Streams.of(0), 0))
    assert first.tolist() != shuffled(data, Streams.of(1), 0).tolist()


def test_batches_tile_the_epoch_and_are_scaled_to_one(data):
    streams = Streams.of(0)
    order = shuffled(data, streams, 0)
    x, y, _ = draw(data, order, streams, 7, 2, size=16, augment="none")
    chosen = np.asarray(order[32:48])
    np.testing.assert_array_equal(y, np.asarray(data.labels)[chosen])
    np.testing.assert_allclose(x, np.asarray(data.images)[chosen] / np.float32(255), rtol=1e-6)
    np.testing.assert_array_equal(gather(data, jnp.asarray(chosen))[0], x)
    assert x.dtype == jnp.float32


def test_keys_differ_by_step_and_image(data):
    streams = Streams.of(0)
    order = shuffled(data, streams, 0)
    keys = [draw(data, order, streams, step, 0, size=16, augment="none")[2] for step in (0, 1)]
    numbers = np.concatenate([jax.random.key_data(each) for each in keys])
    assert len(np.unique(numbers, axis=0)) == 32


def test_crops_are_windows_of_the_padded_image_or_of_its_mirror(data):
    streams = Streams.of(0)
    order = shuffled(data, streams, 0)
    x, _, _ = draw(data, order, streams, 3, 0, size=16, augment="crop-flip")
    plain, _, _ = draw(data, order, streams, 3, 0, size=16, augment="none")
    seen = set()
    for got, image in zip(np.asarray(x), np.asarray(plain), strict=True):
        padded = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
        windows = [
            (top, left, flip)
            for top in range(2 * PAD + 1)
            for left in range(2 * PAD + 1)
            for flip in (1, -1)
            if np.array_equal(padded[top : top + 6, left : left + 6][:, ::flip], got)
        ]
        assert windows
        seen.update(windows)
    assert {flip for *_, flip in seen} == {1, -1}
    assert len(seen) > 8
    again, _, _ = draw(data, order, streams, 3, 0, size=16, augment="crop-flip")
    other, _, _ = draw(data, order, streams, 4, 0, size=16, augment="crop-flip")
    np.testing.assert_array_equal(x, again)
    assert np.any(x != other)
