"""`advbench.train`: train a network, robustly or not, and write it to a run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from advbench.api.checked_training import Arch, Training
from advbench.api.training_data import Data
from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.renamed import accepts_former_names
from advbench.data import Reading
from advbench.defenses import Defense
from advbench.defenses.metrics import LineListener, Listener
from advbench.defenses.recipe import Recipe, RecipeSettings


@accepts_former_names
def train(
    data: Data,
    arch: Arch = "small-cnn",
    defense: str | Defense = "pgd",
    *,
    norm: str | None = None,
    eps: str | float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    init: str | Path | None = None,
    recipe: Recipe | None = None,
    train_size: int | None = None,
    extra_data: str | Path | None = None,
    reading: Reading | None = None,
    notify: Callable[[str], None] | None = None,
    listeners: Sequence[Listener] = (),
    **settings: Unpack[RecipeSettings],
) -> LoadedModel:
    """Train a network, and keep the weights with the highest robust accuracy on the validation images.

    Parameters
    ----------
    data : str, Path, Dataset or tuple
        A published data set by name; one of your own by path, as `advbench.load_data` takes it; a `Dataset`; or
        `(images, labels)` or `(images, labels, class names)`, as `Dataset.from_arrays` takes them.
    arch : str or callable
        A name that `advbench list networks` shows; `file.py:factory` or `package.module:factory`; or a class or
        function `(shape, classes, *, rngs)` that makes a Flax NNX module from images `[B, H, W, C]` in [0, 1] to logits
        `[B, K]`.
    defense : str or Defense
        Like "trades:beta=6,steps=10", or an object like `TRADES(beta=6.0)`.
    norm : {"linf", "l2", "l1"}, optional
        By default that of the data set; required for data of your own.
    eps : str or float, optional
        Perturbation budget, for pixels from 0 to 1, like "8/255"; by default that of the data set; required for data of
        your own.
    out : str or Path, optional
        Run directory for the model, metrics and checkpoints; by default nothing is written.
    resume : bool
        Continue from the newest good checkpoint in `out`. The number of epochs may grow where `Recipe.may_grow`.
    init : str or Path, optional
        Weights to start from: a run directory, a released model's name, or a `.safetensors` file. The head is replaced
        if they are for another number of classes.
    recipe : Recipe, optional
        Training settings; its fields can also be given one by one.
    train_size : int, optional
        Use only the first images.
    extra_data : str or Path, optional
        An `.npz` file of more training images: `image` uint8 `[N, H, W, C]` and `label` `[N]`.
    reading : Reading, optional
        Resizing and cropping of image files of your own.
    notify : callable, optional
        Called with a line after each epoch, and with notes.
    listeners : sequence of Listener
        Called with the metrics of each epoch.
    **settings
        Fields of `Recipe`: `epochs=20`, `batch_size=128`, `seed=0`, `lr=1e-3`, `schedule="cosine"`, ...; they override
        those of `recipe`. `validation`, the number of images held out, is 1,000, or a tenth of a small data set. Data
        of your own with train, val and test splits hold out none: images of val choose the weights, by default up to
        1,000.

    Returns
    -------
    LoadedModel
        With the best weights, in evaluation mode; `record` describes the training, and `record["validation"]` gives the
        accuracies on the validation images.

    Raises
    ------
    UsageError
        For data or settings that can't work, before any computation; for a folder `out` that is not empty, without
        `resume`; for weights `init` of another architecture.
    DataUnavailable
        When the data are missing and can't be downloaded.
    Diverging
        When the loss, a gradient or a weight is not finite; the last good checkpoint is kept.

    Examples
    --------
    >>> import numpy as np
    >>> import advbench
    >>> images, labels = np.zeros((64, 8, 8, 1), np.uint8), np.arange(64) % 2
    >>> images[labels == 1] = 200
    >>> recipe = {"epochs": 2, "batch_size": 16, "lr": 0.01}
    >>> model = advbench.train((images, labels), "mlp", "fgsm-rs", norm="linf", eps=0.1, **recipe)
    >>> model.shape, model.classes, model.record["images"]["validated_on"]
    ((8, 8, 1), 2, 6)
    >>> model.record["validation"]["clean"]
    1.0
    """
    folder = Path(out) if out is not None else None
    if folder:
        vacant([folder], resume)
    elif resume:
        raise UsageError("resume needs out, the folder with the checkpoints")
    tell = notify or (lambda text: None)
    held = settings.get("validation") or (recipe.validation if recipe else None)
    fields: Any = settings  # numbers become texts
    whole = replace(recipe or Recipe(), **fields)
    more = Path(extra_data) if extra_data is not None else None
    given: Any = {"train_size": train_size, "extra_data": more, "reading": reading, "init": init, "notify": tell}
    text = None if eps is None else str(eps)
    training = Training.of(data, arch, defense, norm, text, whole, validation=held, **given)
    return training.run(whole.seed, folder, resume=resume, listeners=[LineListener(tell), *listeners])


def vacant(folders: Iterable[Path], resume: bool) -> None:
    """Refuse run directories that are not empty, unless training is to be resumed.

    Parameters
    ----------
    folders : iterable of Path
        Run directories.
    resume : bool
        Training is to be resumed.

    Raises
    ------
    UsageError
        Naming the first such directory.
    """
    for out in folders:
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file: choose another --out")
        if out.exists() and any(out.iterdir()) and not resume:
            raise UsageError(f"{out} is not empty: continue with --resume, or choose another --out")
