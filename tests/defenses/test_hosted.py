"""A training set whose images stay on the host trains the very same network."""

import dataclasses

import jax
import numpy as np

from advbench.defenses import Standard
from advbench.defenses.batches import (
    Hosted,
    Streams,
    draw,
    gather,
    place,
    shuffled,
)
from advbench.defenses.training import fit
from tests.defenses.tiny import LINF, RECIPE, Net, blobs


class OnDemand:
    """Gives images of given indices, and nothing else; remembers what was announced."""

    def __init__(self, images):
        self.images, self.shape, self.announced = images, images.shape, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        return self.images[at]

    def expect(self, indices):
        self.announced.append(indices)


def test_batches_are_the_same():
    images, labels = blobs(60)
    streams = Streams.of(0)
    extra = images[:7] + 1, labels[:7]
    there = place(images, labels, 12, streams, extra)
    rest = (labels, 12, streams, extra)
    for here in (place(OnDemand(images), *rest), place(images, *rest, largest=9)):
        assert isinstance(here, Hosted)
        order = shuffled(here, streams, 1)
        np.testing.assert_array_equal(order, shuffled(there, streams, 1))
        options = {"size": 16, "augment": "crop-flip", "extra": 4}
        found, expected = (draw(each, order, streams, 3, 1, **options) for each in (here, there))
        for a, b in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(*(jax.random.key_data(keys[2]) for keys in (found, expected)))
        for a, b in zip(gather(here, here.held), gather(there, there.held), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_network_trained_on_what_is_decoded_on_demand_is_the_same():
    images, labels = blobs()
    recipe = dataclasses.replace(RECIPE, epochs=1)
    source = OnDemand(images)
    nets = [fit(Net(), Standard(), LINF, each, labels, recipe).module for each in (images, source)]
    x = images[:9].astype(np.float32) / 255
    np.testing.assert_array_equal(nets[0](x), nets[1](x))
    assert len(source.announced) == 1 and sorted(source.announced[0]) == sorted(set(source.announced[0]))
