"""Defenses of one gradient a step: N-FGSM, free training, and training under noise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.attacks import FGSM, Threat
from advbench.defenses import (
    FreeTraining,
    NoiseFGSM,
    NoiseTraining,
    Standard,
)
from advbench.defenses import step as one
from advbench.defenses.batches import Streams, place
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import Stopped, fit
from advbench.defenses.validation import validate
from advbench.nn.frozen import freeze

from .tiny import LINF, RECIPE, Linear, Net, blobs, leaves, same


@pytest.fixture(scope="module")
def batch():
    images, labels = blobs(32)
    return jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels), jax.random.split(jax.random.key(1), 32)


def gradients(model, x, y):
    return jax.grad(lambda x: -jax.nn.log_softmax(model(x))[jnp.arange(len(y)), y].sum())(x)


def test_n_fgsm_steps_from_wide_noise_and_only_the_pixel_box_holds_it(batch):
    x, y, keys = batch
    model = freeze(Net())
    start = jnp.clip(jax.vmap(Threat(LINF.norm, 2 * LINF.eps).start)(keys, x), 0, 1)
    expected = jnp.clip(start + LINF.eps * jnp.sign(gradients(model, start, y)), 0, 1)
    perturbed = NoiseFGSM().perturb(model, LINF, x, y, keys)
    np.testing.assert_allclose(perturbed, expected, atol=1e-6)
    assert jnp.abs(perturbed - x).max() > 2.5 * LINF.eps


def test_n_fgsm_without_noise_is_fgsm(batch):
    x, y, keys = batch
    model = freeze(Net())
    perturbed = NoiseFGSM(noise=0.0).perturb(model, LINF, x, y, keys)
    np.testing.assert_array_equal(perturbed, FGSM(keep=False)(model, LINF, x, y, keys).x)


def test_noise_has_its_deviation_is_not_cut_off_and_follows_from_the_keys(batch):
    x, y, keys = batch
    defense, model = NoiseTraining(sigma=0.25), freeze(Net())
    perturbed = defense.perturb(model, LINF, x, y, keys)
    assert float((perturbed - x).std()) == pytest.approx(0.25, rel=0.1)
    assert perturbed.min() < 0
    np.testing.assert_array_equal(perturbed, defense.perturb(model, LINF, x, y, keys))
    assert jnp.any(perturbed != defense.perturb(model, LINF, x, y, keys[::-1]))


def test_noise_training_is_judged_under_noise():
    data = place(*blobs(100), 64, Streams.of(0))
    fitted = fit(Net(), Standard(), LINF, *blobs(), RECIPE)
    found = {
        sigma: validate(freeze(fitted.module), NoiseTraining(sigma=sigma), LINF, data, data.held, 16, jax.random.key(0))
        for sigma in (1e-4, 3.0)
    }
    assert found[1e-4].robust == found[1e-4].clean > 0.9
    assert found[3.0].robust < 0.8
    assert found[3.0].clean == found[1e-4].clean


def descend(defense, module, x, y, memory):
    graph, state = nnx.split(module)
    recipe = Recipe(optimizer="sgd", lr=0.1, schedule="constant")
    now = one.begin(state, recipe, memory)
    return one.update(now, defense, LINF, x, x, y, 0, 1.0, graph=graph, recipe=recipe, classes=3, per_epoch=10)[0]


def test_free_training_takes_both_gradients_at_the_perturbed_images(batch):
    x, y, keys = batch
    module, defense = Linear(), FreeTraining()
    first = descend(defense, module, x, y, defense.remember(x.shape))
    plain = descend(Standard(), module, x, y, ())
    for mine, other in zip(leaves(first.state), leaves(plain.state), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-7)
    moved = x + first.memory
    np.testing.assert_allclose(moved, FGSM(keep=False)(freeze(module), LINF, x, y, keys).x, atol=1e-6)

    second = descend(defense, module, x, y, first.memory)
    for mine, other in zip(leaves(second.state), leaves(descend(Standard(), module, moved, y, ()).state), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_a_perturbation_carried_to_other_images_stays_in_ball_and_box(batch):
    x, y, _ = batch
    memory = FreeTraining().remember(x.shape)
    for shift in range(4):
        images = jnp.roll(x, shift, 0)
        memory = descend(FreeTraining(), Linear(), images, jnp.roll(y, shift), memory).memory
        assert jnp.abs(memory).max() <= LINF.eps + 1e-6
        assert (images + memory).min() >= -1e-6 and (images + memory).max() <= 1 + 1e-6


class Spy(FreeTraining):
    """Sees every batch."""

    seen = []  # noqa: RUF012

    def perturb(self, model, threat, x, y, keys):
        self.seen.append(np.asarray(x))
        return x


def test_each_batch_is_replayed_as_it_was_and_others_follow(monkeypatch):
    monkeypatch.setattr(Spy, "seen", [])
    recipe = dataclasses.replace(RECIPE, augment="crop-flip")
    fit(Net(), Spy(replays=4), LINF, *blobs(), recipe)  # two epochs of 8 steps
    seen = Spy.seen
    assert len(seen) == 16
    for i in range(0, 16, 4):
        assert all(np.array_equal(seen[i], other) for other in seen[i : i + 4])
        assert not np.array_equal(seen[i], seen[i - 1])


def test_an_interrupted_free_run_remembers_its_perturbation(tmp_path):
    defense, asked = FreeTraining(replays=3), iter(range(1, 100))
    with pytest.raises(Stopped):
        fit(Net(), defense, LINF, *blobs(), RECIPE, out=tmp_path, should_stop=lambda: 2 if next(asked) == 6 else None)
    resumed = fit(Net(), defense, LINF, *blobs(), RECIPE, out=tmp_path, resume=True)
    assert same(resumed.module, fit(Net(), defense, LINF, *blobs(), RECIPE).module)
