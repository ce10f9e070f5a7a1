"""The watchdog: networks that learn to withstand one step, and what becomes of them."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from advbench.attacks import (
    FGSM,
    NORMS,
    PGD,
    Threat,
)
from advbench.data import load
from advbench.defenses import FastTraining, Standard
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import Trainer, fit
from advbench.defenses.validation import Accuracy
from advbench.defenses.watchdog import PATIENCE, one_step_only, overfits
from advbench.nn.frozen import freeze
from advbench.nn.resnet import ResNet

from .tiny import LINF, PGD3, RECIPE, Ears, Net, blobs, same, scripted


def test_catastrophic_overfitting_rolls_back_says_so_and_slows_down(monkeypatch):
    good, bad, fine = (0.9, 0.8, 0.7), (0.9, 0.95, 0.05), (0.9, 0.8, 0.75)
    scripted(monkeypatch, good, bad, fine)
    ears = Ears()
    trainer = Trainer(
        Net(), PGD3, LINF, *blobs(), dataclasses.replace(RECIPE, epochs=3, schedule="constant"), lambda: None, [ears]
    )
    trainer.epoch()
    trainer.validate()
    best = trainer.best
    trainer.epoch()
    assert not same(trainer.now, best)
    trainer.validate()
    assert same(trainer.now, best)
    assert "catastrophic overfitting at step 16" in ears.said[0]
    assert "95.0%" in ears.said[0]
    trainer.epoch()
    trainer.validate()
    assert ears.windows[-1]["lr"] == pytest.approx(RECIPE.lr / 2)
    assert trainer.ledger.best["robust"] == 0.75
    assert len(ears.said) == 1


def test_overfitting_that_comes_back_ends_the_run_with_the_best_weights(monkeypatch):
    scripted(monkeypatch, (0.9, 0.8, 0.7), (0.9, 0.95, 0.05))
    ears = Ears()
    fitted = fit(Net(), PGD3, LINF, *blobs(), dataclasses.replace(RECIPE, epochs=50), listeners=[ears])
    assert len(fitted.history) == 4
    assert len(ears.said) == 3
    assert fitted.best["robust"] == 0.7


def test_fast_training_is_watched_within_its_epochs(monkeypatch):
    monkeypatch.setattr(FastTraining, "watch", 4)
    scripted(monkeypatch, (0.9, 0.8, 0.7), (0.9, 0.95, 0.05), (0.9, 0.8, 0.7))
    ears = Ears()
    fit(Net(), FastTraining(), LINF, *blobs(), RECIPE, listeners=[ears])
    assert len(ears.said) == 1
    assert "at step 12" in ears.said[0]


def test_what_counts_as_overfitting():
    assert overfits(Accuracy(0.9, 0.9, 0.1), 0.6)
    assert not overfits(Accuracy(0.9, 0.9, 0.5), 0.6)  # fell little
    assert not overfits(Accuracy(0.3, 0.2, 0.15), 0.6)  # fell with FGSM: unlearned, not overfitted
    assert not overfits(Accuracy(0.9, 0.5, 0.05), 0.1)  # never was robust


def test_overfitting_within_an_epoch_ends_the_run_there(monkeypatch):
    monkeypatch.setattr(FastTraining, "watch", 2)
    scripted(monkeypatch, (0.9, 0.8, 0.7), (0.9, 0.95, 0.05))
    ears = Ears()
    recipe = dataclasses.replace(RECIPE, epochs=50)
    fitted = fit(Net(), FastTraining(), LINF, *blobs(), recipe, listeners=[ears])
    assert len(ears.said) == PATIENCE
    assert "at step 14" in ears.said[-1]  # 8 of the first epoch, then thrice 2
    assert "last time" in ears.said[-1]
    assert len(fitted.history) == 1


def test_what_never_withstood_more_than_a_step_is_warned_of_at_the_end(monkeypatch):
    scripted(monkeypatch, (0.9, 0.8, 0.05))
    ears = Ears()
    fit(Net(), PGD3, LINF, *blobs(), RECIPE, listeners=[ears])
    (said,) = ears.said
    assert "single steps only: FGSM accuracy 80.0%, PGD-10 5.0%" in said


@pytest.mark.parametrize(
    ("defense", "accuracy"),
    [(PGD3, (0.9, 0.8, 0.45)), (PGD3, (0.3, 0.15, 0.02)), (Standard(), (0.9, 0.8, 0.0))],
    ids=["robust", "hardly trained", "undefended by intent"],
)
def test_others_are_not(monkeypatch, defense, accuracy):
    scripted(monkeypatch, accuracy)
    ears = Ears()
    fit(Net(), defense, LINF, *blobs(), RECIPE, listeners=[ears])
    assert not ears.said


def test_what_counts_as_withstanding_one_step_only():
    assert one_step_only(Accuracy(0.9, 0.9, 0.1))
    assert not one_step_only(Accuracy(0.9, 0.9, 0.5))
    assert not one_step_only(Accuracy(0.9, 0.15, 0.0))  # too little of either to say


@pytest.fixture(scope="module")
def digits():
    """Real ones, at half the resolution: 3,456 to train with and 256 that training never sees."""
    mnist = load("mnist", "train")
    small = mnist.images[:3712].reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)).round().astype(np.uint8)
    return small[:3456], mnist.labels[:3456], small[3456:] / np.float32(255), mnist.labels[3456:3712]


@pytest.mark.optimised
def test_fast_training_at_too_large_a_step_overfits_is_seen_and_survives(digits, monkeypatch):
    """Steps of 2 eps end in corners of the ball, and a network learns to withstand corners alone."""
    images, labels, x, y = digits
    fallen, rollback_if_overfitting = [], Trainer.rollback_if_overfitting

    def witness(trainer, accuracy):
        before, count = trainer.now, trainer.ledger.rollbacks
        rollback_if_overfitting(trainer, accuracy)
        if trainer.ledger.rollbacks > count:
            fallen.append(nnx.merge(trainer.graph, before.ema))

    monkeypatch.setattr(Trainer, "rollback_if_overfitting", witness)
    monkeypatch.setattr(FastTraining, "watch", 25)
    linf, ears = Threat(NORMS["linf"], 0.3), Ears()
    recipe = Recipe(epochs=9, batch_size=64, validation=256, optimizer="sgd", lr=0.15, schedule="constant")
    for seed in (1, 2, 3):  # when a network falls is chaotic: rounding decides
        net = ResNet((14, 14, 1), 10, depth=8, width=8, rngs=nnx.Rngs(seed))
        fast, seeded = FastTraining(rel_step_size=2.0), dataclasses.replace(recipe, seed=seed)
        fitted = fit(net, fast, linf, images, labels, seeded, listeners=[ears])
        if fallen:
            break

    def accuracy(module, attack):
        keys = jax.random.split(jax.random.key(1), len(x))
        model = freeze(module)
        return (model(attack(model, linf, x, y, keys).x).argmax(-1) == y).mean()

    assert len(fallen) == sum("catastrophic overfitting" in text for text in ears.said) > 0
    many = PGD(steps=20, rel_step_size=0.1)
    for module in fallen:
        assert accuracy(module, many) < 0.6 * accuracy(module, FGSM())
        assert accuracy(fitted.module, many) > accuracy(module, many) + 0.1
    assert fitted.best["robust"] == max(epoch["robust"] for epoch in fitted.history) > 0.35
    assert accuracy(fitted.module, many) > 0.3
