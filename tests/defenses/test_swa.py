"""Stochastic weight averaging: a mean over epochs, with batch statistics of its own."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.defenses import Standard
from advbench.defenses import step as one
from advbench.defenses.recipe import Recipe
from advbench.defenses.statistics import restated
from advbench.defenses.training import Stopped, Trainer, fit

from .tiny import LINF, RECIPE, Net, blobs, leaves, same

SWA = dataclasses.replace(RECIPE, epochs=4, ema=0.0, swa=0.25)


def params(state):
    return leaves(nnx.split_state(state, nnx.Param, ...)[0])


def test_the_average_is_the_mean_of_the_weights_at_the_ends_of_epochs():
    recipe = Recipe(epochs=6, swa=0.5)
    weights, average, ends = np.random.default_rng(0).normal(size=(24, 3)), jnp.zeros(3), []
    for step, w in enumerate(weights):
        average = one.average(average, jnp.asarray(w), recipe.keep_at(step, 4))
        if step < 15:
            np.testing.assert_allclose(average, w, rtol=1e-6)  # the weights as they are
        elif step % 4 == 3:
            ends.append(w)
        if ends:
            np.testing.assert_allclose(average, np.mean(ends, 0), rtol=1e-5)
    assert len(ends) == 3


def test_what_is_released_is_that_mean():
    trainer = Trainer(Net(), Standard(), LINF, *blobs(), SWA, lambda: None, [])
    ends = []
    for _ in range(4):
        trainer.epoch()
        ends.append(params(trainer.now.state))
        trainer.restate()
    for got, *parts in zip(params(trainer.now.ema), *ends[1:], strict=True):
        np.testing.assert_allclose(got, np.mean(parts, 0), rtol=1e-4, atol=1e-6)


def test_batch_statistics_are_those_of_the_network_itself():
    graph, state = nnx.split(Net())
    x = jnp.asarray(blobs(64)[0], jnp.float32) / 255
    y = jnp.asarray(blobs(64)[1])
    batches = [(x[i : i + 16], x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    found = restated(state, graph, Standard(), 3, batches)
    first = nnx.merge(graph, state).first
    hidden = np.asarray(first(x.reshape(64, -1)), np.float64).reshape(4, 16, 12)
    module = nnx.merge(graph, found)
    np.testing.assert_allclose(module.norm.mean[...], hidden.mean((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.norm.var[...], hidden.var(1).mean(0), rtol=1e-3, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(params(found), params(state), strict=True))


def test_a_network_without_statistics_costs_no_batch():
    graph, state = nnx.split(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
    assert restated(state, graph, Standard(), 2, iter(int, 1)) is state  # an endless iterator


@pytest.mark.parametrize("stop", [13, 25, 30])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, stop):
    whole = fit(Net(), Standard(), LINF, *blobs(), SWA)
    asked = iter(range(1, 1000))
    with pytest.raises(Stopped):
        fit(
            Net(), Standard(), LINF, *blobs(), SWA, out=tmp_path,
            should_stop=lambda: 15 if next(asked) == stop else None,
        )  # fmt: skip
    assert same(whole.module, fit(Net(), Standard(), LINF, *blobs(), SWA, out=tmp_path, resume=True).module)


@pytest.mark.parametrize("setting", [{"swa": 1.0}, {"swa": -0.1}, {"swa": 0.5, "ema": 0.9}, {"swa": 0.9}])
def test_senseless_settings_are_refused(setting):
    with pytest.raises(ValueError, match="swa"):
        Recipe(**{"epochs": 4, **setting}).check()
