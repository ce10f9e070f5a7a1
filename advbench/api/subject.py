"""Model, test images, threat models and default attacks, from what the user named."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.api import targets
from advbench.api.selection import selected
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.api.settings import Settings
    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset, Reading

IMAGES = 1000  # attacked unless told otherwise
PAUSE = 10.0  # seconds between lines of progress


def load_model_and_data(
    model: Any, data: Any, settings: Settings, *, most: int | None = None
) -> tuple[LoadedModel, Dataset, list[int]]:
    """Load the model and its test images, and choose the images to attack.

    Parameters
    ----------
    model, data : Any
        As for `advbench.evaluate`.
    settings : Settings
        All other options.
    most : int, optional
        Number of images by default; else 1,000, or 100 for a remote model.

    Returns
    -------
    LoadedModel
        The model.
    Dataset
        Test images.
    list of int
        Indices of the images to attack.

    Raises
    ------
    AdvbenchError
        When the model or the data are missing or do not fit.
    """
    loaded, images = model_and_data(model, data, settings)
    usual = IMAGES if loaded.access == "gradient" else targets.IMAGES
    return loaded, images, selected(images, settings.n, settings.indices, most or usual)


def model_and_data(model: Any, data: Any, settings: Settings) -> tuple[LoadedModel, Dataset]:
    """Load the model, find out its input layout and its logits, and load the test images.

    Parameters
    ----------
    model, data : Any
        As for `advbench.evaluate`.
    settings : Settings
        All other options.

    Returns
    -------
    LoadedModel
        The model.
    Dataset
        Test images, those given or those that the model was trained for.

    Raises
    ------
    AdvbenchError
        When the model or the data are missing or do not fit.
    """
    from advbench.core.images import pixels
    from advbench.core.outputs import expecting
    from advbench.preflight.layout import PROBE, find_layout

    loaded = model_of(model, settings)
    images = data_of(loaded, data, settings)
    loaded = expecting(loaded, len(images.classes), settings.logits)
    loaded, scores = find_layout(loaded, pixels(images.images[:PROBE]), images.labels[:PROBE])
    if scores:
        tried = ", ".join(f"{layout} {score:.1%}" for layout, score in scores.items())
        settings.notify(f"{loaded.name}: input layout {loaded.preprocess.layout}, by accuracy: {tried}")
    if isinstance(data, tuple | list) and settings.classes is None:
        images = widened(loaded, images)
    return loaded, images


def accelerated(model: LoadedModel, data: Dataset, settings: Settings) -> LoadedModel:
    """Replace a model by faster code for attacks, if there is any: see `advbench.models.acceleration`.

    Parameters
    ----------
    model : LoadedModel
        Model as given.
    data : Dataset
        Images on which both are compared.
    settings : Settings
        Whether to translate, and who is told.

    Returns
    -------
    LoadedModel
        Model for the attacks; its `execution` records what was done.
    """
    from advbench.core.images import pixels
    from advbench.models import acceleration
    from advbench.models.agreement import IMAGES

    few = pixels(data.images[:IMAGES])
    return acceleration.accelerated(model, few, settings.notify, translate=settings.translate)


def model_of(model: Any, settings: Settings) -> LoadedModel:
    """Load a named model, or adapt one in memory.

    Parameters
    ----------
    model : Any
        As for `advbench.evaluate`.
    settings : Settings
        Preprocessing and weights.

    Returns
    -------
    LoadedModel
        The model.

    Raises
    ------
    AdvbenchError
        When there is no such model, or it can't be used as it is.
    """
    from advbench.core.loaded import LoadedModel
    from advbench.core.preprocess import OwnPreprocessing
    from advbench.models.load import load_model
    from advbench.models.memory import of_object

    if isinstance(model, str | Path):
        return load_model(str(model), settings.preprocess, settings.weights)
    if settings.weights is not None:
        raise UsageError("weights go into what file.py:factory makes; put them into the model that is given")
    if not isinstance(model, LoadedModel):
        return of_object(model, settings.preprocess)
    if settings.preprocess:
        raise OwnPreprocessing(f"{model.name} is loaded already: leave out input_layout, mean and std")
    return model


def data_of(model: LoadedModel, data: Any, settings: Settings) -> Dataset:
    """Load the test images: those given or named, else those of the model, read as declared, else as in training.

    Parameters
    ----------
    model : LoadedModel
        The model.
    data : Any
        As for `advbench.evaluate`.
    settings : Settings
        Reading of image files, and a callable for notes.

    Returns
    -------
    Dataset
        Test images.

    Raises
    ------
    AdvbenchError
        When there are none.
    """
    from advbench.data import Dataset, Reading, again, load
    from advbench.data.catalog import known

    learned, reading = model.record.get("data", {}), settings.reading
    declared = reading != Reading()
    if isinstance(data, Dataset):
        if declared:
            raise UsageError("a Dataset is read already: say how when it is loaded (resize, crop, classes, ...)")
        found = data
    elif isinstance(data, tuple | list):
        found = _arrays(data, reading)
    elif data is None:
        if model.dataset is None:
            raise UsageError(f"{model.name} does not say which data it is for: name it with --data")
        how = reading.record() if declared else learned.get("reading", {})
        tell = looking(model.dataset, settings.notify)
        found = again(model.dataset, learned.get("source", ""), "test", how, tell)
    elif isinstance(data, str | Path):
        if not declared and not known(str(data)) and learned:
            reading = Reading.of(learned.get("reading", {}))
        found = load(data, "test", reading=reading, tell=looking(str(data), settings.notify))
    else:
        raise UsageError(f"data are {type(data).__name__}: give (images, labels), a Dataset, a name or a path")
    for note in found.notes:
        settings.notify(f"note: {found.name} {found.split}: {note}")
    if learned.get("digest") and learned["digest"] == model.record.get("images", {}).get("digest") == found.digest:
        settings.notify(f"note: {model.name} was trained on these very images of {found.name}")
    return found


def _arrays(data: Sequence[Any], reading: Reading) -> Dataset:
    """Make a data set of a pair of arrays."""
    from advbench.data import Dataset, Reading

    if len(data) != 2:
        raise UsageError(f"data are {len(data)} things: give (images, labels)")
    if replace(reading, classes=None) != Reading():
        raise UsageError(
            "resize, crop, interpolation, transparent and skip_corrupt are for image files, not for arrays"
        )
    images, labels = data
    return Dataset.from_arrays(images, labels, reading.classes)


def widened(model: LoadedModel, data: Dataset) -> Dataset:
    """Give arrays, which do not say how many classes there are, as many classes as the model has logits.

    Parameters
    ----------
    model : LoadedModel
        The model; a remote one is not asked, since that would cost queries.
    data : Dataset
        Arrays as a data set.

    Returns
    -------
    Dataset
        With at least the former classes.
    """
    import jax
    import jax.numpy as jnp

    from advbench.core.ambient import own_settings

    if model.access != "gradient":
        return data
    with own_settings():
        try:
            out = jax.eval_shape(model.predict, jax.ShapeDtypeStruct((2, *data.shape), jnp.float32))
        except Exception:  # whatever a network may raise on such images is told by the preflight
            return data
    if len(out.shape) != 2 or out.shape[1] <= len(data.classes):
        return data
    return replace(data, classes=tuple(map(str, range(out.shape[1]))))


def looking(name: str, notify: Callable[[str], None]) -> Callable[[int, int], None]:
    """Make a callback that reports every few seconds how many images were read.

    Parameters
    ----------
    name : str
        Name of the data.
    notify : callable
        Called with each report as a line.

    Returns
    -------
    callable
        Takes the images done and in total.
    """
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PAUSE:
            last = time.monotonic()
            notify(f"{name}: looked at {done:,} of {total:,} images; this is remembered")

    return tell
