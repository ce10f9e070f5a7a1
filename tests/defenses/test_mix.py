"""Mixed images and their shares of classes, against what the papers say of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.defenses import Standard
from advbench.defenses.mix import leading, mix, shares
from advbench.defenses.training import fit

from .tiny import LINF, RECIPE, Net, blobs, same

Y = jnp.arange(6) % 3


def constant(side=8):
    """Images that are their own label everywhere: what is mixed in shows."""
    return jnp.broadcast_to(jnp.arange(6.0)[:, None, None, None] / 8, (6, side, side, 2))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_each_class_has_the_share_of_its_pixels(kind):
    x = jnp.zeros((6, 8, 8, 3)).at[jnp.arange(6), ..., Y].set(1.0)  # the channel is the class
    images, target = mix(jax.random.key(0), x, Y, 1.0, kind=kind, classes=3)
    np.testing.assert_allclose(images.mean((1, 2)), target, atol=1e-6)
    np.testing.assert_allclose(target.sum(-1), 1, atol=1e-6)
    assert len(np.unique(np.asarray(target).max(-1).round(5))) > 3  # one draw an image


def test_mixup_blends_whole_images_and_cutmix_pastes_one_box():
    x = constant()
    blend, _ = mix(jax.random.key(1), x, Y, 1.0, kind="mixup", classes=3)
    assert np.ptp(blend, axis=(1, 2)).max() < 1e-6
    pasted, _ = mix(jax.random.key(1), x, Y, 1.0, kind="cutmix", classes=3)
    boxes = 0
    for got, image in zip(np.asarray(pasted), np.asarray(x), strict=True):
        changed = (got != image).any(-1)
        rows, columns = changed.any(1), changed.any(0)
        assert np.array_equal(changed, rows[:, None] & columns)
        assert len(np.unique(got[changed])) <= 1
        boxes += changed.any()
    assert boxes >= 3


def test_a_tiny_alpha_hardly_mixes():
    x = constant()
    _, target = mix(jax.random.key(2), x, Y, 1e-3, kind="mixup", classes=3)
    assert np.asarray(target).max(-1).min() > 0.99


def test_attacks_lead_away_from_the_class_with_the_largest_share():
    assert leading(Y) is Y
    assert leading(jnp.array([[0.2, 0.8], [0.6, 0.4]])).tolist() == [1, 0]
    np.testing.assert_array_equal(shares(Y, 3), np.eye(3)[np.asarray(Y)])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_training_on_mixed_images_learns_and_repeats(kind):
    recipe = dataclasses.replace(RECIPE, mix=kind, epochs=4)
    fitted = fit(Net(), Standard(), LINF, *blobs(), recipe)
    assert fitted.best["clean"] > 0.8
    assert same(fitted.module, fit(Net(), Standard(), LINF, *blobs(), recipe).module)
    assert not same(
        fitted.module, fit(Net(), Standard(), LINF, *blobs(), dataclasses.replace(recipe, mix="none")).module
    )
