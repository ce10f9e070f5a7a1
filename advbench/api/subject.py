"""Model, test images, threat models and default attacks, from what the user named."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.api import targets
from advbench.core.errors import UsageError
from advbench.core.spec import unknown_threat

if TYPE_CHECKING:
    from advbench.api.settings import Settings
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset, Reading

IMAGES = 1000  # attacked unless told otherwise
PAUSE = 10.0  # seconds between lines of progress

CASCADE = ("fgsm", "apgd", "apgd:loss=dlr")
"""Attacks used unless others are named; targeted APGD follows them.

Cheap attacks first, then strong ones; targeted APGD breaks most of the images that are left.
"""
FEWEST = 4  # classes that the targeted DLR loss needs; with fewer the margin takes its place
TARGETS = 9  # of that, as published; all wrong classes where there are fewer
CASCADE_L2 = ("cw:rounds=5,steps=100",)


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
    return loaded, images, _indices(images, settings.n, settings.indices, most or usual)


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


def texts_of(given: Any) -> list[Any] | None:
    """Put one or several things into a list.

    Parameters
    ----------
    given : Any
        One thing, a sequence, or None.

    Returns
    -------
    list or None
        None for None.
    """
    if given is None:
        return None
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def cascade(model: LoadedModel, norm: str, classes: int) -> tuple[str, ...]:
    """Return the default attacks, by what the model answers, the norm and the number of classes.

    Parameters
    ----------
    model : LoadedModel
        The model.
    norm : str
        Norm of the threat model.
    classes : int
        Number of classes.

    Returns
    -------
    tuple of str
        Attacks as typed, in order.
    """
    if model.access != "gradient":
        return targets.cascade(model, norm)
    towards = f"apgd:loss={'dlr' if classes >= FEWEST else 'margin'},targets={min(TARGETS, max(classes - 1, 1))}"
    return (*CASCADE, towards, *(CASCADE_L2 if norm == "l2" else ()))


def threats_of(model: LoadedModel, dataset: str, norm: str | None, eps: str | None) -> list[ThreatSpec]:
    """Read the threat models: as typed, else the one that the model was trained for, else the default of the data set.

    Parameters
    ----------
    model : LoadedModel
        The model.
    dataset : str
        Name of the data.
    norm : str or None
        Norm as typed.
    eps : str or None
        One or several eps, separated by commas.

    Returns
    -------
    list of ThreatSpec
        One for each eps.

    Raises
    ------
    UsageError
        For text that is no threat model, or an eps that is missing for this norm.
    """
    from advbench.attacks import NORMS
    from advbench.core.names import found
    from advbench.core.spec import ThreatSpec

    trained = _trained(model, dataset)
    if trained is None and (norm is None or (eps is None and norm != "any")):
        raise UsageError(unknown_threat(dataset))
    trained = trained or {"norm": "", "eps": ""}
    norm = found("norm", norm, NORMS) if norm else trained["norm"]
    if norm == "any":
        trained = {"norm": "any", "eps": "1"}
    if eps is None and norm != trained["norm"]:
        raise UsageError(f"--norm {norm} needs an --eps of its own ({model.name} is for {trained['norm']})")
    texts = eps.split(",") if eps is not None else [trained["eps"]]
    return [ThreatSpec.parse(norm, text) for text in texts]


def _trained(model: LoadedModel, dataset: str) -> dict[str, str] | None:
    from advbench.data import DATASETS

    if threat := model.record.get("threat"):
        found: dict[str, str] = threat
        return found
    info = DATASETS.get(dataset)
    return None if info is None else {"norm": info.default_norm, "eps": info.default_eps}


def _indices(data: Dataset, n: int | None, named: str | Sequence[int] | None, most: int) -> list[int]:
    if named is None:
        n = min(most, len(data)) if n is None else n
        if n < 1:
            raise UsageError(f"n is {n}: give at least one image")
        data.require(n)
        return list(range(n))
    if n is not None:
        raise UsageError("give -n or --indices, not both")
    if not isinstance(named, str):
        return _numbers(data, named)
    ranges = _ranges(named)
    last = max(stop for _, stop in ranges)
    if last >= data.total:
        raise UsageError(f"{named} names image {last}; {data.name} {data.split} ends at {data.total - 1}")
    data.require(last + 1)
    indices = [i for first, stop in ranges for i in range(first, stop + 1)]
    twice = next((i for i, times in Counter(indices).items() if times > 1), None)
    if twice is not None:
        raise UsageError(f"{named} names image {twice} more than once")
    return indices


def _numbers(data: Dataset, named: Sequence[int]) -> list[int]:
    from advbench.core.images import chosen

    indices: list[int] = chosen(named, data.total).tolist()
    data.require(max(indices) + 1)
    return indices


def _ranges(named: str) -> list[tuple[int, int]]:
    """Read first and last index of every range, separated by white space or commas, of a text or the file it names."""
    try:
        text = named if re.fullmatch(r"[0-9][0-9,-]*", named) else Path(named).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read image numbers from {named}: {getattr(error, 'strerror', 'not text')}") from None
    words = re.split(r"[\s,]+", text.strip())
    found = [re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word) for word in words]
    ranges = [(int(each[1]), int(each[2] or each[1])) for each in found if each]
    wrong = next((word for word, each in zip(words, found, strict=True) if not each), None)
    if wrong is not None:
        raise UsageError(f"{named} should hold image numbers, from 0, or ranges like 0-99; it has {wrong[:40]!r}")
    if backwards := next(((first, last) for first, last in ranges if last < first), None):
        raise UsageError(f"{named} has the range {backwards[0]}-{backwards[1]}, which ends before it begins")
    return ranges
