"""A training run: settings checked before any computation, the run, and its record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advbench.api.training_data import Data, threat_of, training_images, validation_images
from advbench.api.training_record import record, shared, typed
from advbench.core.dataset import Dataset
from advbench.core.devices import leads
from advbench.core.errors import AdvbenchError, Interrupted, UsageError
from advbench.core.lazy import choose
from advbench.core.loaded import LoadedModel
from advbench.core.names import DEFENSE_NAMES
from advbench.core.spec import ThreatSpec, build
from advbench.data import DATASETS, Reading
from advbench.data.extra import Extra
from advbench.data.extra import read as read_extra
from advbench.defenses import DEFENSES, Defense, balance
from advbench.defenses.checkpoints import CheckpointError
from advbench.defenses.metrics import Listener, writers
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import Diverged, Stopped, check, fit
from advbench.models import initial, store
from advbench.models.architecture import Architecture
from advbench.models.architecture import find as find_architecture
from advbench.models.initial import Initial
from advbench.models.trained_code import trust
from advbench.nn.frozen import freeze

if TYPE_CHECKING:
    from flax import nnx

HELD = 1000  # images to choose the weights by; of small data of one's own, a tenth

Arch = str | Callable[..., Any]


class Diverging(AdvbenchError):
    """Training diverged; the last good checkpoint is kept."""

    exit_code = 3


@dataclass(frozen=True)
class Training:
    """A training whose settings were checked before any computation; `run` trains with one seed.

    Attributes
    ----------
    data : Dataset
        Training images.
    size : int
        Number of images to use, from the first on.
    extra : Extra or None
        More training images.
    made : Architecture
        The network.
    init : Initial or None
        Weights to start from.
    defense : Defense
        Training objective.
    spec : str
        The defense as typed.
    threat : ThreatSpec
        Threat model to train against.
    recipe : Recipe
        Optimizer, schedule and the like.
    val : Dataset or None
        Images to choose the weights by, instead of training images held out.
    """

    data: Dataset
    size: int  # of its images, the first ones
    extra: Extra | None
    made: Architecture
    init: Initial | None
    defense: Defense
    spec: str  # of the defense, as typed
    threat: ThreatSpec
    recipe: Recipe
    val: Dataset | None = None  # to choose the weights by, instead of images held out

    @classmethod
    def of(
        cls,
        data: Data,
        arch: Arch,
        defense: str | Defense,
        norm: str | None,
        eps: str | None,
        recipe: Recipe,
        *,
        validation: int | None = None,
        train_size: int | None = None,
        extra_data: Path | None = None,
        reading: Reading | None = None,
        init: str | Path | None = None,
        notify: Callable[[str], None] = lambda text: None,
    ) -> Training:
        """Read data and settings; the quickest checks come first.

        Parameters
        ----------
        data, arch, defense, norm, eps, recipe, train_size, extra_data, reading, init, notify
            As for `advbench.train`.
        validation : int, optional
            Images to choose the weights by; by default 1,000, or a tenth of a small data set of your own. Data of your
            own with splits train, val and test use images of val, by default up to 1,000.

        Returns
        -------
        Training
            Ready to run.

        Raises
        ------
        AdvbenchError
            For data or settings that can't work.
        """
        threat = threat_of(data, norm, eps)
        objective = build("defense", defense, DEFENSES, DEFENSE_NAMES) if isinstance(defense, str) else defense
        made = find_architecture(arch)
        start = initial.read(init) if init is not None else None
        images = training_images(data, reading, notify)
        for note in images.notes:
            notify(f"note: {images.name} {images.split}: {note}")
        size = train_size or len(images)
        if size > len(images):
            raise UsageError(f"--train-size {size} is more than the {len(images)} training images of {images.name}")
        val = validation_images(data, images, reading, notify)
        few = size // 10 if val is None else len(val)
        held = validation or (HELD if images.name in DATASETS else max(1, min(HELD, few)))
        if val is not None:
            held = min(held, few)
            notify(f"note: {images.name}: weights are chosen by {held:,} of the {few:,} images of {val.split}")
        recipe = replace(recipe, validation=held)
        try:
            check(objective, threat.threat, size, recipe, extra=extra_data is not None, apart=val is not None)
            balance.check_count(recipe.class_weights, len(images.classes))
        except ValueError as error:
            raise UsageError(str(error)) from None
        extra = read_extra(extra_data, images.shape, len(images.classes)) if extra_data else None
        module = made.abstract(images.shape, len(images.classes))
        if start and (layers := start.put_into(module, made, images.shape, len(images.classes))):
            there = f"{start.classes} classes" if start.classes else "another number of classes"
            notify(f"note: {', '.join(layers)} gets new weights: {start.source} has {there}, not {len(images.classes)}")
        return cls(images, size, extra, made, start, objective, typed(defense), threat, recipe, val)

    def run(
        self,
        seed: int,
        out: Path | None,
        *,
        resume: bool = False,
        should_stop: Callable[[], int | None] = lambda: None,
        listeners: Sequence[Listener] = (),
        command: str | None = None,
    ) -> LoadedModel:
        """Train with one seed, and write the network to `out`, if given.

        Parameters
        ----------
        seed : int
            Seed of weights, batches and random starts.
        out : Path or None
            Run directory.
        resume : bool
            Continue from the newest good checkpoint in `out`.
        should_stop : callable
            Called before every step; if it returns the number of a signal, training ends after a checkpoint.
        listeners : sequence of Listener
            Called with the metrics of each epoch.
        command : str, optional
            The command as typed, for the record; by default the call in Python.

        Returns
        -------
        LoadedModel
            The network with the best weights.

        Raises
        ------
        Diverging
            When the loss, a gradient or a weight is not finite.
        Interrupted
            When `should_stop` asked to stop.
        UsageError
            When a checkpoint does not fit, the network can't be bounded, or `out` can't be written.
        """
        recipe = replace(self.recipe, seed=seed)
        with _faults(out):
            module, replaced = self._module(seed)
            if out:
                out.mkdir(parents=True, exist_ok=True)
                listeners = [*writers(out), *listeners] if leads() else listeners
            fitted = fit(
                module,
                self.defense,
                self.threat.threat,
                choose(self.data.images, slice(self.size)),
                self.data.labels[: self.size],
                recipe,
                extra=(self.extra.images, self.extra.labels) if self.extra else None,
                validating=self._validating(),
                out=out,
                resume=resume,
                about=shared(self),
                digest=self.data.digest if self.size == len(self.data) else None,
                should_stop=should_stop,
                listeners=listeners,
            )
            return self._released(fitted.module, record(self, recipe, fitted, replaced, command), out)

    def _validating(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return images and labels of the validation split, if any: evenly spaced, as many as the recipe says."""
        if self.val is None:
            return None
        held = self.recipe.validation
        some = np.arange(held) * len(self.val) // held
        return self.val.images[some], self.val.labels[some]

    def _module(self, seed: int) -> tuple[nnx.Module, list[str]]:
        """Make the network; return it, and the names of layers that do not have the given initial weights."""
        shape, classes = self.data.shape, len(self.data.classes)
        module = self.made.create(shape, classes, seed)
        return module, self.init.put_into(module, self.made, shape, classes) if self.init else []

    def _released(self, module: nnx.Module, record: dict[str, Any], out: Path | None) -> LoadedModel:
        shape, classes, name = self.data.shape, len(self.data.classes), self.data.name
        form: Any = {"architecture": self.made, "shape": shape, "classes": classes, "dataset": name, "record": record}
        if out and leads():
            if self.made.code:
                trust(self.made.code)
            manifest = store.save(out, module, **form)
        else:
            _, manifest = store.pack(module, **form)
        called = out.resolve().name if out else f"{self.made.name} trained on {name}"
        predict, source = freeze(module), str(out) if out else ""
        return LoadedModel(called, predict, shape, classes, name, manifest.digest, manifest.record, source)


@contextmanager
def _faults(out: Path | None) -> Iterator[None]:
    """Turn the errors that end training early into errors with an exit code."""
    from advbench.bounds import Unsupported

    kept = f"; the last good checkpoint is in {out}" if out else ""
    try:
        yield
    except Stopped as error:
        raise Interrupted(f"{error}; to continue, repeat the command with --resume", error.signal) from None
    except Diverged as error:
        raise Diverging(f"{error}{kept}") from None
    except (CheckpointError, Unsupported) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(
            f"can't write to {out}: {error.strerror or error}; then repeat the command with --resume"
        ) from None
