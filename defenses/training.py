"""One training loop for every defense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from advbench.attacks import Threat
from advbench.core.ambient import own_settings
from advbench.defenses.base import Defense
from advbench.defenses.checkpoints import Checkpoints
from advbench.defenses.fingerprint import content, fingerprint
from advbench.defenses.ledger import Diverged, Fitted, Stopped
from advbench.defenses.metrics import Listener
from advbench.defenses.recipe import Recipe
from advbench.defenses.trainer import Trainer

GROWS = "epochs may be more with schedule constant, or piecewise with milestones, and without swa"

__all__ = ["Diverged", "Fitted", "Stopped", "Trainer", "check", "fit"]


@own_settings()
def fit(
    module: nnx.Module,
    defense: Defense,
    threat: Threat,
    images: Any,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    out: Path | None = None,
    resume: bool = False,
    extra: tuple[np.ndarray, np.ndarray] | None = None,
    validating: tuple[np.ndarray, np.ndarray] | None = None,
    about: Mapping[str, str] | None = None,
    digest: str | None = None,
    should_stop: Callable[[], int | None] = lambda: None,
    listeners: Sequence[Listener] = (),
) -> Fitted:
    """Train `module` from where it stands.

    Everything random is a function of the seed and the step, so that on CPU a resumed run ends bit for bit where an
    uninterrupted one does.

    Parameters
    ----------
    module : images `[B, H, W, C]` float32 in [0, 1] -> logits `[B, K]`, in training mode; it is not changed.
    images, labels : uint8 `[N, H, W, C]` and integers `[N]` in [0, K). Images that are no array, but give those of the
        indices asked for, are sent to the device a batch at a time.
    out : folder for `checkpoints/`; None: keep none.
    extra : more images and labels, generated or labelled by a network: `recipe.extra_fraction` of every batch. They are
        never validated on, and an epoch stays as many batches as `images` fill.
    validating : images and labels to choose the weights by, instead of `recipe.validation` of `images`.
    resume : go on from the newest good checkpoint in `out`, or begin if there is none; with more epochs than before,
        where `recipe.may_grow`.
    about : more facts that a resumed run must share, by name.
    digest : of images and labels, where it is known: `fingerprint.content`.
    should_stop : asked before every step; the number of a signal ends training after a checkpoint.

    Raises
    ------
    ValueError
        For settings or data that can't work.
    CheckpointError
        When a checkpoint can't be written, or can't be resumed from.
    Diverged
        When the loss, a gradient or a weight is no longer finite; the last checkpoint stands.
    Stopped
        When `should_stop` said so.
    """
    check(defense, threat, len(images), recipe, extra=extra is not None, apart=validating is not None)
    trainer = Trainer(module, defense, threat, images, labels, recipe, should_stop, listeners, extra, validating)
    if out:
        data = digest or content(images, labels)
        facts = fingerprint(module, defense, threat, data, recipe, extra) | dict(about or {})
        if validating:
            facts["validation data"] = content(*validating)
        more = {"recipe.epochs": "" if recipe.may_grow else GROWS}
        trainer.use(Checkpoints(out / "checkpoints", facts, more), resume)
    try:
        return trainer.run()
    finally:
        for listener in listeners:
            listener.end()


def check(
    defense: Defense, threat: Threat, size: int, recipe: Recipe, *, extra: bool = False, apart: bool = False
) -> None:
    """Refuse what can't work on a training set of `size` images, before any compute.

    Parameters
    ----------
    extra, apart : whether there are extra images, and images to validate on that are none of these.

    Raises
    ------
    ValueError
        With one line on what is wrong and what to do.
    """
    recipe.check()
    defense.check(threat)
    if apart and size < recipe.batch_size:
        raise ValueError(f"{size} images can't fill a batch of {recipe.batch_size}")
    if not apart and size - recipe.validation < recipe.batch_size:
        raise ValueError(f"{size} images can't hold out {recipe.validation} and fill a batch of {recipe.batch_size}")
    if extra and not 0 < recipe.extras < recipe.batch_size:
        raise ValueError(f"a batch of {recipe.batch_size} can't be {recipe.extra_fraction:g} extra: let it be larger")
