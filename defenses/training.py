"""One training loop for every defense."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from advbench.attacks import Model, Threat
from advbench.defenses.base import Defense
from advbench.defenses.batches import Data, Streams, draw, place, shuffled
from advbench.defenses.frozen import freeze
from advbench.defenses.metrics import Listener, Record
from advbench.defenses.recipe import Recipe
from advbench.defenses.validation import Accuracy, validate

WINDOW = 50  # steps between two looks at the loss; each look waits for the device


class Progress(NamedTuple):
    """What a step changes, all on the device."""

    state: nnx.State  # weights, batch statistics, dropout keys
    opt: optax.OptState
    ema: nnx.State  # moving average of the state: what is validated and released


class Diverged(ArithmeticError):
    """The loss, a gradient or a weight is not finite."""


class Stopped(Exception):
    """Asked to stop by signal `signal`, after the state was saved."""

    def __init__(self, signal: int, step: int):
        super().__init__(f"stopped by signal {signal} after step {step}")
        self.signal = signal
        self.step = step


@dataclass
class Fitted:
    """What training leaves: the network with its best weights, how good these are, a record of every epoch."""

    module: nnx.Module
    best: Record
    history: list[Record]


@partial(jax.jit, static_argnames=("graph", "recipe", "classes", "epoch"), donate_argnames="now")
def update(
    graph: Any,
    recipe: Recipe,
    defense: Defense,
    now: Progress,
    x: Array,
    x_adv: Array,
    y: Array,
    step: int,
    slower: float,
    *,
    classes: int,
    epoch: int,
) -> tuple[Progress, dict[str, Array]]:
    """Descend once. `epoch` is its number of steps, `slower` a factor on the learning rate."""
    params, rest = nnx.split_state(now.state, nnx.Param, ...)
    target = optax.smooth_labels(jax.nn.one_hot(y, classes), recipe.label_smoothing)

    def cost(params: nnx.State) -> tuple[Array, tuple[Array, nnx.State]]:
        model = nnx.merge(graph, params, rest, copy=True)
        loss, logits = defense.loss(model, x, x_adv, target)
        return loss, (logits, nnx.state(model, nnx.Not(nnx.Param)))

    (loss, (logits, rest)), slope = jax.value_and_grad(cost, has_aux=True)(params)
    direction, opt = recipe.transform().update(slope, now.opt, params)
    lr = recipe.lr_at(step, epoch) * slower
    params = jax.tree.map(lambda p, d: p - lr * d, params, direction)
    state = nnx.merge_state(params, rest)
    decay = jnp.minimum(recipe.ema, (1 + step) / (10 + step))  # the first weights fade quickly
    ema = jax.tree.map(partial(_blend, decay), now.ema, state)
    seen = {"loss": loss, "accuracy": (logits.argmax(-1) == y).mean(), "slope": optax.global_norm(slope), "lr": lr}
    return Progress(state, opt, ema), seen


def _blend(decay: Array, old: Array, new: Array) -> Array:
    return decay * old + (1 - decay) * new if jnp.issubdtype(new.dtype, jnp.floating) else new


@dataclass
class Ledger:
    """What the host remembers of a run, all of it JSON; saved with every checkpoint."""

    step: int = 0
    slower: float = 1.0  # factor on the learning rate, halved by every roll-back
    rollbacks: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(
    module: nnx.Module,
    defense: Defense,
    threat: Threat,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    should_stop: Callable[[], int | None] = lambda: None,
    listeners: Sequence[Listener] = (),
) -> Fitted:
    """Train `module` from where it stands.

    Parameters
    ----------
    module : images `[B, H, W, C]` float32 in [0, 1] -> logits `[B, K]`, in training mode; it is not changed.
    images, labels : uint8 `[N, H, W, C]` and integers `[N]` in [0, K).
    should_stop : asked before every step; the number of a signal ends training after a checkpoint.

    Raises
    ------
    ValueError
        For settings or data that can't work.
    Diverged
        When the loss, a gradient or a weight is no longer finite.
    Stopped
        When `should_stop` said so.
    """
    recipe.check()
    defense.check(threat)
    if len(images) - recipe.validation < recipe.batch_size:
        raise ValueError(
            f"{len(images)} images are too few for {recipe.validation} to validate on and batches of {recipe.batch_size}"
        )
    return Trainer(module, defense, threat, images, labels, recipe, should_stop, listeners).run()


class Trainer:
    """One run: the state on the device, the ledger on the host."""

    def __init__(
        self,
        module: nnx.Module,
        defense: Defense,
        threat: Threat,
        images: np.ndarray,
        labels: np.ndarray,
        recipe: Recipe,
        should_stop: Callable[[], int | None],
        listeners: Sequence[Listener],
    ):
        self.defense, self.threat, self.recipe = defense, threat, recipe
        self.should_stop, self.listeners = should_stop, listeners
        self.streams = Streams.of(recipe.seed)
        self.data: Data = place(images, labels, recipe.validation, self.streams)
        self.per_epoch = len(self.data.train) // recipe.batch_size
        self.total = self.per_epoch * recipe.epochs
        self.graph, state = nnx.split(module)
        self.evaluated = freeze(module).func
        self.classes = jax.eval_shape(self.view(state), jnp.zeros((1, *images.shape[1:]))).shape[-1]
        opt = recipe.transform().init(nnx.split_state(state, nnx.Param, ...)[0])
        self.now = Progress(_copy(state), opt, _copy(state))
        self.best = _copy(self.now)
        self.ledger = Ledger()

    def view(self, state: nnx.State) -> Model:
        """The network with these weights, in evaluation mode."""
        return jax.tree_util.Partial(self.evaluated, *jax.tree.leaves(state))

    def run(self) -> Fitted:
        """Train until the last epoch, or until patience ends."""
        for listener in self.listeners:
            listener.begin(self.ledger.step, self.total)
        while self.ledger.step < self.total and not self.out_of_patience():
            self.epoch()
            self.judge()
        return Fitted(nnx.merge(self.graph, self.best.ema), self.ledger.best, list(self.ledger.history))

    def out_of_patience(self) -> bool:
        """Whether validation has not improved for too many epochs."""
        ledger, patience = self.ledger, self.recipe.patience
        return bool(patience and ledger.best and len(ledger.history) - ledger.best["epoch"] >= patience)

    def epoch(self) -> None:
        """Take the steps that are left of this epoch."""
        ledger, epoch = self.ledger, self.ledger.step // self.per_epoch
        order = shuffled(self.data, self.streams, epoch)
        seen: list[dict[str, Array]] = []
        since = time.perf_counter()
        while ledger.step < (epoch + 1) * self.per_epoch:
            signal = self.should_stop()
            if signal:
                raise Stopped(signal, ledger.step)
            seen.append(self.advance(order))
            if ledger.step % WINDOW == 0 or ledger.step == (epoch + 1) * self.per_epoch:
                self.look(seen, since)
                seen, since = [], time.perf_counter()

    def advance(self, order: Array) -> dict[str, Array]:
        """Take one step; nothing here waits for the device."""
        recipe, step = self.recipe, self.ledger.step
        x, y, keys = draw(
            self.data,
            order,
            self.streams,
            step,
            step % self.per_epoch,
            size=recipe.batch_size,
            augment=recipe.augment,
        )
        threat = Threat(self.threat.norm, recipe.eps_at(step, self.per_epoch, float(self.threat.eps)))
        x_adv = self.defense.craft(self.view(self.now.state), threat, x, y, keys)
        self.now, seen = update(
            self.graph,
            recipe,
            self.defense,
            self.now,
            x,
            x_adv,
            y,
            step,
            self.ledger.slower,
            classes=self.classes,
            epoch=self.per_epoch,
        )
        self.ledger.step += 1
        return seen

    def look(self, seen: list[dict[str, Array]], since: float) -> None:
        """Fetch what the last steps measured, refuse what is not finite, and tell the listeners."""
        fetched = jax.device_get(seen)
        mean = {name: float(np.mean([one[name] for one in fetched])) for name in ("loss", "accuracy", "slope")}
        step = self.ledger.step
        if not np.isfinite([mean["loss"], mean["slope"]]).all():
            raise Diverged(f"the loss or its gradient is not finite after step {step}: try a lower lr, or clip it")
        self.record = {
            "step": step,
            "epoch": step / self.per_epoch,
            "loss": mean["loss"],
            "accuracy": mean["accuracy"],
            "lr": float(fetched[-1]["lr"]),
            "eps": self.recipe.eps_at(step - 1, self.per_epoch, float(self.threat.eps)),
            "images_per_second": len(seen) * self.recipe.batch_size / (time.perf_counter() - since),
        }
        for listener in self.listeners:
            listener.window(self.record)

    def judge(self) -> None:
        """Validate after an epoch and keep the best weights."""
        accuracy = validate(self.view(self.now.ema), self.threat, self.data, self.recipe.batch_size, self.streams.judge)
        epoch = self.ledger.step // self.per_epoch
        record = {**self.record, "epoch": epoch, **accuracy._asdict()}
        self.ledger.history.append(record)
        if not self.ledger.best or self.score(record) > self.score(self.ledger.best):
            self.ledger.best, self.best = record, _copy(self.now)
        for listener in self.listeners:
            listener.epoch(record)

    def score(self, record: Record) -> tuple[float, float]:
        """What the best weights have most of."""
        first, second = ("robust", "clean") if self.defense.robust else ("clean", "robust")
        return record[first], record[second]


def _copy(tree: Any) -> Any:
    """Buffers of its own, since a step gives those of its input away."""
    return jax.tree.map(jnp.copy, tree)
