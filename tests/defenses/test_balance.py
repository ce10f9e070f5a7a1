"""Classes of unequal size: weights in the loss, even batches, and neither unless asked for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.defenses import MART, TRADES, Defense, Standard
from advbench.defenses import step as one
from advbench.defenses.balance import weights_of
from advbench.defenses.batches import Streams, place, shuffled
from advbench.defenses.recipe import Recipe, RecipeSettings
from advbench.defenses.training import Trainer, fit

from .tiny import LINF, RECIPE, Linear, blobs, leaves, same

UNEVEN = np.repeat([0, 1, 2], [120, 30, 10]).astype(np.int32)
BLOBS = blobs(160)[0]


def updated(defense, labels, weights, images=None):
    """Weights after one step of plain gradient descent, and its loss."""
    images = BLOBS[: len(labels)] if images is None else images
    x = jnp.asarray(images, jnp.float32) / 255
    graph, state = nnx.split(Linear())
    recipe = Recipe(optimizer="sgd", lr=0.1, schedule="constant")
    static = {"graph": graph, "recipe": recipe, "classes": 3, "per_epoch": 10}
    y = jnp.asarray(labels)
    now, seen = one.update(one.begin(state, recipe), defense, LINF, x, 1 - x, y, 0, 1.0, weights, **static)
    return now.state, float(seen["loss"])


@pytest.mark.parametrize("defense", [Standard(), TRADES(), MART()])
def test_a_weight_of_two_counts_as_seeing_the_images_twice(defense):
    labels = np.array([0, 1, 1, 2, 0, 2], np.int32)
    twice = np.concatenate([np.arange(6), np.flatnonzero(labels == 1)])
    weighted, loss = updated(defense, labels, jnp.array([1.0, 2.0, 1.0]))
    repeated, same_loss = updated(defense, labels[twice], None, BLOBS[twice])
    assert loss == pytest.approx(same_loss, rel=1e-5)
    for a, b in zip(leaves(weighted), leaves(repeated), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_weight_of_zero_leaves_a_class_out():
    labels = np.array([0, 1, 1, 2, 0, 2], np.int32)
    kept = np.flatnonzero(labels != 2)
    without, _ = updated(Standard(), labels[kept], None, BLOBS[kept])
    for a, b in zip(leaves(updated(Standard(), labels, jnp.array([1.0, 1, 0]))[0]), leaves(without), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_shares_of_classes_count_by_their_shares():
    shares = np.array([[0.5, 0.5, 0], [0, 0, 1]], np.float32)
    x = BLOBS[:2].astype(np.float32) / 255
    logp = np.asarray(jax.nn.log_softmax(Linear()(1 - x)), np.float64)
    counts = np.array([2.0, 5.0])  # of weights 1, 3, 5
    expected = (counts * -(shares * logp).sum(-1)).sum() / counts.sum()
    assert updated(Standard(), shares, jnp.array([1.0, 3.0, 5.0]))[1] == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_are_inverse_frequencies():
    np.testing.assert_allclose(weights_of("balanced", np.array([0.75, 0.25])), [2 / 3, 2])
    np.testing.assert_allclose(weights_of("1,2.5", np.array([0.75, 0.25])), [1, 2.5])
    assert weights_of("none", np.array([0.75, 0.25])) is None
    assert np.isfinite(weights_of("balanced", np.array([1.0, 0.0]))).all()


def test_balanced_weights_are_those_of_the_images_trained_on():
    recipe = dataclasses.replace(RECIPE, class_weights="balanced")
    trainer = Trainer(Linear(), Standard(), LINF, BLOBS, UNEVEN, recipe, lambda: None, ())
    trained = UNEVEN[np.asarray(trainer.data.train)]
    np.testing.assert_allclose(trainer.weights, len(trained) / (3 * np.bincount(trained)), rtol=1e-5)
    extra = BLOBS[:9], np.full(9, 2, np.int32)  # half of each batch
    trainer = Trainer(Linear(), Standard(), LINF, BLOBS, UNEVEN, recipe, lambda: None, (), extra)
    there = np.bincount(trained) / len(trained) / 2 + [0, 0, 0.5]
    np.testing.assert_allclose(trainer.weights, 1 / (3 * there), rtol=1e-5)


def test_a_balanced_sampler_draws_every_class_as_often():
    streams = Streams.of(0)
    data = place(BLOBS, UNEVEN, 16, streams, sampler="balanced")
    orders = [np.asarray(shuffled(data, streams, epoch)) for epoch in range(20)]
    assert not set(np.concatenate(orders)) & set(np.asarray(data.held).tolist())
    assert {len(order) for order in orders} == {len(data.train)}
    counts = np.bincount(UNEVEN[np.concatenate(orders)])
    n = counts.sum()
    assert np.abs(counts - n / 3).max() < 5 * np.sqrt(n * 2 / 9)  # five deviations
    np.testing.assert_array_equal(orders[3], shuffled(data, streams, 3))


def test_neither_is_on_unless_asked_for():
    streams = Streams.of(0)
    data = place(BLOBS, UNEVEN, 16, streams)
    order = np.asarray(shuffled(data, streams, 0))
    assert sorted(order) == sorted(np.asarray(data.train))
    assert Trainer(Linear(), Standard(), LINF, BLOBS, UNEVEN, RECIPE, lambda: None, ()).weights is None


@pytest.mark.parametrize("setting", [{"class_weights": "balanced"}, {"sampler": "balanced"}])
def test_a_rare_class_is_recognised_more_often(setting):
    """Overlapping classes, nine to one: the plain loss leans to the common one."""
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 10 == 0).astype(np.int32)
    images = (
        np.clip(rng.normal(110 + 25 * labels[:, None], 60, (400, 4)), 0, 255).astype(np.uint8).reshape(400, 2, 2, 1)
    )

    class Tiny(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(4, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.layer(x.reshape(len(x), -1))

    def recall(**more):
        recipe = Recipe(epochs=6, batch_size=32, validation=40, lr=0.05, schedule="constant", patience=0, **more)
        trainer = Trainer(Tiny(), Standard(), LINF, images, labels, recipe, lambda: None, ())
        trainer.run()
        logits = nnx.merge(trainer.graph, trainer.now.state)(images.astype(np.float32) / 255)
        return (np.asarray(logits).argmax(-1) == 1)[labels == 1].mean()

    assert recall(**setting) > recall() + 0.2


class Total(Defense):
    """One loss for all images."""

    paper = "none"

    def loss(self, model, x, x_adv, target):
        logits = model(x_adv)
        return (logits**2).mean(), logits


def test_one_loss_for_all_images_trains_but_not_with_weights():
    assert np.isfinite(updated(Total(), np.zeros(4, np.int32), None)[1])
    with pytest.raises(ValueError, match="each image"):
        updated(Total(), np.zeros(4, np.int32), jnp.ones(3))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"class_weights": "even"}, "class weights 'even'"),
        ({"class_weights": "1,-1,1"}, "from 0 up"),
        ({"class_weights": "0,0,0"}, "all be 0"),
        ({"sampler": "even"}, "unknown sampler"),
        ({"class_weights": "balanced", "sampler": "balanced"}, "choose one"),
        ({"milestones": "1"}, "piecewise"),
        ({"milestones": "2,1", "schedule": "piecewise"}, "rise"),
        ({"milestones": "x", "schedule": "piecewise"}, "milestones 'x'"),
        ({"class_weights": (1.0, 2.0)}, "2 class weights, but 3 classes"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(setting, words):
    with pytest.raises(ValueError, match=words) as caught:
        fit(Linear(), Standard(), LINF, BLOBS, UNEVEN, dataclasses.replace(RECIPE, **setting))
    assert "\n" not in str(caught.value)


def test_numbers_and_texts_mean_the_same():
    assert Recipe(class_weights=(1, 2.5), milestones=[3]) == Recipe(class_weights="1,2.5", milestones="3")


def test_settings_are_the_fields_of_a_recipe():
    assert set(RecipeSettings.__annotations__) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("schedule", [{"schedule": "constant"}, {"schedule": "piecewise", "milestones": "1"}])
def test_epochs_that_grow_end_as_if_they_had_been_asked_for_at_once(schedule, tmp_path):
    short = dataclasses.replace(RECIPE, epochs=1, sampler="balanced", **schedule)
    long = dataclasses.replace(short, epochs=3)
    run = (Standard(), LINF, BLOBS, UNEVEN)
    fit(Linear(), *run, short, out=tmp_path)
    grown = fit(Linear(), *run, long, out=tmp_path, resume=True)
    whole = fit(Linear(), *run, long)
    assert same(grown.module, whole.module)
    assert [each["epoch"] for each in grown.history] == [1, 2, 3]
    with pytest.raises(Exception, match=r"recipe\.epochs was 3, is 2$"):
        fit(Linear(), *run, dataclasses.replace(long, epochs=2), out=tmp_path, resume=True)


@pytest.mark.parametrize("schedule", [{"schedule": "cosine"}, {"schedule": "piecewise"}])
def test_epochs_do_not_grow_where_the_schedule_stretches(schedule, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=1, **schedule)
    run = (Standard(), LINF, BLOBS, UNEVEN)
    fit(Linear(), *run, recipe, out=tmp_path)
    with pytest.raises(Exception, match=r"recipe\.epochs was 1, is 2 .*constant, or piecewise with milestones"):
        fit(Linear(), *run, dataclasses.replace(recipe, epochs=2), out=tmp_path, resume=True)


def test_milestones_are_epochs():
    recipe = Recipe(epochs=10, lr=1.0, schedule="piecewise", milestones="2,3.5")
    for step, rate in {0: 1.0, 19: 1.0, 20: 0.1, 34: 0.1, 35: 0.01, 99: 0.01}.items():
        assert float(recipe.lr_at(step, 10)) == pytest.approx(rate, rel=1e-4), step
