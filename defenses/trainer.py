"""The training loop: state on the device, state on the host, and the work after each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from advbench.attacks import Model, Threat
from advbench.core import devices
from advbench.defenses import balance, watchdog
from advbench.defenses import step as one
from advbench.defenses.base import Defense
from advbench.defenses.batches import (
    Streams,
    draw,
    place,
    shuffled,
)
from advbench.defenses.checkpoints import CheckpointError, Checkpoints
from advbench.defenses.ledger import Diverged, Fitted, Stopped, TrainingState
from advbench.defenses.metrics import Listener, Record
from advbench.defenses.mix import leading, mix
from advbench.defenses.recipe import Recipe
from advbench.defenses.statistics import BATCHES, restated
from advbench.defenses.validation import Accuracy, validate
from advbench.nn.frozen import coarse, freeze

WINDOW = 50  # steps between two readings of the loss; each waits for the device
SAVE_EVERY = 120.0  # seconds between checkpoints, besides one after each epoch
AGREE = 10  # steps between two agreements of several processes on whether to stop
GLANCE = 256  # validation images checked for overfitting within an epoch


class Trainer:
    """One training run: state on the device (`now`, and the `best` so far), and the ledger on the host.

    Parameters
    ----------
    module : nnx.Module
        Network in training mode.
    defense : Defense
        Training objective with its settings.
    threat : Threat
        Norm and eps.
    images, labels
        uint8 `[N, H, W, C]` and integers `[N]`.
    recipe : Recipe
        Settings of the training loop.
    should_stop, listeners
        Returns the number of a signal to stop, else None; receivers of records.
    extra : tuple[np.ndarray, np.ndarray], optional
        Extra images and labels.
    """

    def __init__(
        self,
        module: nnx.Module,
        defense: Defense,
        threat: Threat,
        images: Any,
        labels: np.ndarray,
        recipe: Recipe,
        should_stop: Callable[[], int | None],
        listeners: Sequence[Listener],
        extra: tuple[np.ndarray, np.ndarray] | None = None,
        validating: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        self.defense, self.threat, self.recipe = defense, threat, recipe
        self.should_stop, self.listeners = should_stop, listeners
        self.streams = devices.replicated(Streams.of(recipe.seed))
        held = recipe.validation
        self.data = place(images, labels, held, self.streams, extra, validating, sampler=recipe.sampler)
        self.extras = recipe.extras if extra else 0
        self.per_epoch = len(self.data.train) // recipe.batch_size
        self.total = self.per_epoch * recipe.epochs
        self.graph, state = nnx.split(module)
        frozen: Any = freeze(module)
        self.evaluated = frozen.func
        self.classes = jax.eval_shape(frozen, jnp.zeros((1, *images.shape[1:]))).shape[-1]
        self.weights = devices.replicated(self.class_weights(labels, extra))
        state, memory = devices.replicated((state, defense.remember((recipe.batch_size, *images.shape[1:]))))
        self.now = one.begin(state, recipe, memory)
        self.best = one.copied(self.now)
        self.ledger = TrainingState()
        self.checkpoints: Checkpoints | None = None
        self.saved = time.monotonic()
        self.seen: list[dict[str, Array]] = []
        self.since = time.perf_counter()
        self.record: dict[str, Any] = {}

    def class_weights(self, labels: np.ndarray, extra: tuple[np.ndarray, np.ndarray] | None) -> Array | None:
        """Return the weight of every class in the loss, by its expected share of a batch: training and extra images."""
        balance.check_count(self.recipe.class_weights, self.classes)
        own = balance.shares_of(np.asarray(labels)[np.asarray(self.data.train)], self.classes)
        if self.recipe.sampler == balance.BALANCED:
            own = (own > 0) / np.count_nonzero(own)
        share = self.extras / self.recipe.batch_size
        more = balance.shares_of(extra[1], self.classes) if extra else own
        return balance.weights_of(self.recipe.class_weights, (1 - share) * own + share * more)

    def use(self, checkpoints: Checkpoints, resume: bool) -> None:
        """Save checkpoints there from now on; first resume from the newest, if asked."""
        self.checkpoints = checkpoints
        if not resume:
            if checkpoints.steps():
                raise CheckpointError(f"{checkpoints.folder} holds another run: resume it, or choose another folder")
            return
        with devices.leader_first("restore"):  # it may set damaged ones aside
            found = checkpoints.restore((self.now, self.best), self.say)
        if found:
            (self.now, self.best), ledger = devices.replicated(found[0]), found[1]
            self.ledger = TrainingState(**ledger)

    def run(self) -> Fitted:
        """Train until the last epoch, or until patience ends."""
        for listener in self.listeners:
            listener.begin(self.ledger.step, self.total)
        self.since = time.perf_counter()
        while self.ledger.step < self.total and not self.over():
            self.epoch()
            if not self.over():  # else the best weights were restored, which are validated already
                self.restate()
                self.validate()
            self.save()
        self.conclude()
        ledger = self.ledger
        return Fitted(nnx.merge(self.graph, self.best.ema), ledger.best, ledger.history, ledger.seconds)

    def over(self) -> bool:
        """Tell whether validation has not improved for too many epochs, or overfitting came back too often."""
        ledger, patience = self.ledger, self.recipe.patience
        waited = len(ledger.history) - ledger.best["epoch"] if ledger.best else 0
        return ledger.rollbacks >= watchdog.PATIENCE or bool(patience and waited >= patience)

    def epoch(self) -> None:
        """Take the remaining steps of this epoch, unless overfitting ends the run in its middle."""
        ledger, epoch = self.ledger, self.ledger.step // self.per_epoch
        order = shuffled(self.data, self.streams, epoch)
        while ledger.step < (epoch + 1) * self.per_epoch and not self.over():
            if signal := self.signal():
                self.save()
                raise Stopped(signal, ledger.step)
            self.seen.append(self.advance(order))
            if self.defense.watch and ledger.step % self.defense.watch == 0 and ledger.best:
                self.rollback_if_overfitting(self.measure(GLANCE))
            if ledger.step % WINDOW == 0:
                self.flush_metrics()
                ended = ledger.step % self.per_epoch == 0  # then it is saved after validation
                if time.monotonic() - self.saved > SAVE_EVERY and not ended:
                    self.save()
        self.flush_metrics()

    def signal(self) -> int | None:
        """Return the number of the signal that asks to stop; several processes agree on it every few steps."""
        if jax.process_count() > 1 and self.ledger.step % AGREE:
            return None
        return devices.agreed(self.should_stop())

    def advance(self, order: Array) -> dict[str, Array]:
        """Take one step; nothing here waits for the device."""
        recipe, step, ledger = self.recipe, self.ledger.step, self.ledger
        x, x_adv, y = self.batch(order, step, self.now.state)
        threat = self.ball(step)
        defense = self.defense.at(threat, recipe.eps_at(step, self.per_epoch, 1.0))
        static = {"graph": self.graph, "recipe": recipe, "classes": self.classes, "per_epoch": self.per_epoch}
        now, seen = one.update(self.now, defense, threat, x, x_adv, y, step, ledger.slower, self.weights, **static)
        self.now = devices.replicated(now)
        ledger.step += 1
        return dict(seen)

    def batch(self, order: Array, step: int, state: Any) -> tuple[Array, Array, Array]:
        """Return clean images, adversarial training examples, and labels or shares of classes, of a step."""
        recipe = self.recipe
        at, replay = divmod(step % self.per_epoch, self.defense.visits)
        first = step - replay  # a replayed batch is drawn as before
        shape: Any = {"size": recipe.batch_size, "augment": recipe.augment, "extra": self.extras}
        x, y, keys = devices.split(draw(self.data, order, self.streams, first, at, **shape))
        if recipe.mix != "none":
            key = jax.random.fold_in(self.streams.mix, first)
            x, y = mix(key, x, y, recipe.mix_alpha, kind=recipe.mix, classes=self.classes)
        return x, self.defense.perturb(self.perturbing(state), self.ball(step), x, leading(y), keys), y

    def restate(self) -> None:
        """Give weights averaged over epochs batch statistics of their own, from the epoch's first batches."""
        epoch = self.ledger.step // self.per_epoch - 1
        if not self.recipe.swa or epoch <= self.recipe.unaveraged:  # the average of one epoch has its own statistics
            return
        order, average = shuffled(self.data, self.streams, epoch), self.now.ema
        steps = range(epoch * self.per_epoch, epoch * self.per_epoch + min(BATCHES, self.per_epoch))
        batches = (self.batch(order, step, average) for step in steps)
        self.now = self.now._replace(ema=restated(average, self.graph, self.defense, self.classes, batches))

    def ball(self, step: int) -> Threat:
        """Return the norm ball of a step."""
        return Threat(self.threat.norm, self.eps(step))

    def eps(self, step: int) -> float:
        """Return the perturbation budget of a step."""
        return self.recipe.eps_at(step, self.per_epoch, float(self.threat.eps))

    def view(self, state: Any) -> Model:
        """Return the network with these weights, in evaluation mode."""
        view: Model = jax.tree_util.Partial(self.evaluated, *jax.tree.leaves(state))
        return view

    def perturbing(self, state: Any) -> Model:
        """Return the same, in the precision of making adversarial training examples."""
        view: Any = self.view(state)
        return coarse(view) if self.recipe.perturb_dtype == "bfloat16" else view

    def flush_metrics(self) -> None:
        """Fetch the metrics of the last steps, refuse non-finite ones, and pass them to the listeners."""
        if not self.seen:
            return
        fetched, step = jax.device_get(self.seen), self.ledger.step
        mean = {
            name: float(np.mean([each[name] for each in fetched])) for name in ("loss", "accuracy", "input_gradient")
        }
        if not (np.isfinite([mean["loss"], mean["input_gradient"]]).all() and one.finite(self.now)):
            raise Diverged(f"loss, gradient or weights are not finite after step {step}: lower the lr, or clip")
        seconds = time.perf_counter() - self.since
        self.ledger.seconds += seconds
        self.record = {
            "step": step,
            "epoch": step / self.per_epoch,
            "loss": mean["loss"],
            "accuracy": mean["accuracy"],
            "lr": float(fetched[-1]["lr"]),
            "eps": self.eps(step - 1),
            "images_per_second": len(fetched) * self.recipe.batch_size / seconds,
        }
        for listener in self.listeners:
            listener.window(self.record)
        self.seen, self.since = [], time.perf_counter()

    def validate(self) -> None:
        """Validate after an epoch, and keep the weights if they are the best."""
        accuracy = self.measure(len(self.data.held))
        record = {**self.record, "epoch": self.ledger.step // self.per_epoch, **accuracy._asdict()}
        self.ledger.history.append(record)
        if not self.ledger.best or self.score(record) > self.score(self.ledger.best):
            self.ledger.best, self.best = record, one.copied(self.now)
        for listener in self.listeners:
            listener.epoch(record)
        self.rollback_if_overfitting(accuracy)
        self.ledger.seconds += time.perf_counter() - self.since
        self.since = time.perf_counter()

    def measure(self, count: int) -> Accuracy:
        """Measure the averaged weights on the first `count` validation images."""
        held = self.data.held[:count]
        model = self.view(self.now.ema)
        return validate(model, self.defense, self.threat, self.data, held, self.recipe.batch_size, self.streams.judge)

    def score(self, record: Record) -> tuple[float, float]:
        """Return the accuracies by which the best weights are chosen, the first one first."""
        first, second = ("robust", "clean") if self.defense.robust else ("clean", "robust")
        return record[first], record[second]

    def rollback_if_overfitting(self, accuracy: Accuracy) -> None:
        """Return to the best weights, with a smaller learning rate, when the network overfits to single steps."""
        ledger = self.ledger
        if not (self.defense.robust and watchdog.overfits(accuracy, ledger.best["robust"])):
            return
        self.now = one.copied(self.best)
        ledger.rollbacks += 1
        ledger.slower /= 2
        ends = "; this is the last time" if self.over() else ""
        self.say(
            f"catastrophic overfitting at step {ledger.step}: FGSM accuracy {accuracy.fgsm:.1%}, "
            f"{self.defense.against} {accuracy.robust:.1%}; "
            f"back to the weights of epoch {ledger.best['epoch']}, lr halved{ends}"
        )

    def conclude(self) -> None:
        """Warn of a network that was never robust to more than the one step that it was trained on."""
        best = self.ledger.best
        found = Accuracy(best["clean"], best["fgsm"], best["robust"])
        if self.defense.robust and watchdog.one_step_only(found):
            self.say(
                f"these weights are robust to single steps only: FGSM accuracy {found.fgsm:.1%}, "
                f"{self.defense.against} {found.robust:.1%}; train on more steps, or with a smaller eps"
            )

    def save(self) -> None:
        """Write a checkpoint, after checking that everything is finite."""
        self.flush_metrics()
        if self.checkpoints and devices.leads():
            self.checkpoints.save(self.ledger.step, (self.now, self.best), asdict(self.ledger))
        self.saved = time.monotonic()

    def say(self, text: str) -> None:
        """Pass one line to the listeners."""
        for listener in self.listeners:
            listener.say(text)
