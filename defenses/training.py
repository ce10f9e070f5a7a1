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
    """Train `module` from its current weights.

    Everything random is a function of the seed and the step, so that on CPU a resumed run ends bit for bit like an
    uninterrupted one.

    Parameters
    ----------
    module : nnx.Module
        Images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`, in training mode; it is not changed.
    defense : Defense
        Training objective with its settings.
    threat : Threat
        Norm and eps to train for.
    images : Any
        uint8 `[N, H, W, C]`. Anything but an array must give the images of an index array, and is sent to the device a
        batch at a time.
    labels : np.ndarray
        Integers `[N]` in [0, K).
    recipe : Recipe
        Settings of the training loop.
    out : Path, optional
        Folder for `checkpoints/`; None keeps none.
    resume : bool, default False
        Resume from the newest intact checkpoint in `out`, or begin if there is none; with more epochs than before,
        where `recipe.may_grow`.
    extra : tuple[np.ndarray, np.ndarray], optional
        More images and labels, generated or pseudo-labelled: `recipe.extra_fraction` of every batch. They are never
        validated on, and the length of an epoch does not depend on them.
    validating : tuple[np.ndarray, np.ndarray], optional
        Images and labels to choose the weights by, instead of `recipe.validation` of `images`.
    about : Mapping[str, str], optional
        More facts that a resumed run must share, by name.
    digest : str, optional
        Digest of images and labels, if known: `fingerprint.content`.
    should_stop : Callable[[], int or None], optional
        Called before every step; the number of a signal ends training after a checkpoint.
    listeners : Sequence[Listener], default ()
        Receivers of records.

    Returns
    -------
    Fitted
        Network with its best weights, and records.

    Raises
    ------
    ValueError
        For settings or data that can't work.
    CheckpointError
        When a checkpoint can't be written, or can't be resumed from.
    Diverged
        When the loss, a gradient or a weight is no longer finite; the last checkpoint remains.
    Stopped
        When `should_stop` returned the number of a signal.

    Examples
    --------
    Black and white images, which a small network tells apart after one epoch:

    >>> from advbench.core.norms import NORMS
    >>> from advbench.defenses import Standard
    >>> from advbench.nn import create
    >>> labels = np.arange(64) % 2
    >>> images = np.broadcast_to(255 * labels[:, None, None, None], (64, 6, 6, 1)).astype(np.uint8)
    >>> network = create("mlp", shape=(6, 6, 1), classes=2, seed=0)
    >>> recipe = Recipe(epochs=1, batch_size=16, validation=16, lr=0.01)
    >>> fitted = fit(network, Standard(), Threat(NORMS["linf"], 0.1), images, labels, recipe)
    >>> fitted.best["clean"]
    1.0
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
    """Refuse settings that can't work on a training set, before any compute.

    Parameters
    ----------
    defense : Defense
        Training objective with its settings.
    threat : Threat
        Norm and eps to train for.
    size : int
        Number of training images.
    recipe : Recipe
        Settings of the training loop.
    extra : bool, default False
        Whether there are extra images.
    apart : bool, default False
        Whether validation images are given apart, so that none are held out.

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
