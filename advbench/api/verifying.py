"""Verification of a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.core.preprocess import Preprocess
    from advbench.data import Dataset
    from advbench.evaluation import Verification
    from advbench.evaluation.result import DataInfo


def verify(run: Path | str, *, model: Any = None, data: Any = None, weights: Path | None = None) -> Verification:
    """Recompute every claim of a run from its stored images, on a separate code path.

    Parameters
    ----------
    run : Path
        Run directory of an evaluation.
    model : Any
        The attacked model, as for `advbench.evaluate`; needed if it was in memory, is the user's code, or is a URL.
    data : Any
        The attacked data; needed if they were in memory or made by code.
    weights : Path, optional
        Weights for the PyTorch or Keras model that `file.py:factory` makes.

    Returns
    -------
    Verification
        Every claim, with the evidence against it; `failures` is empty if all claims hold.

    Raises
    ------
    UsageError
        When the model or the data are not those of the run, or must be given.
    CorruptFile
        When files of the run are damaged.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import advbench
    >>> def model(x):
    ...     return x.mean((1, 2))
    >>> data = np.full((4, 5, 6, 3), [90, 100, 110], np.uint8), [2, 2, 2, 2]
    >>> with tempfile.TemporaryDirectory() as run:
    ...     settings = {"norm": "linf", "eps": 0.03, "attacks": "fgsm", "preflight": False, "out": f"{run}/it"}
    ...     result = advbench.evaluate(model, data, **settings)
    ...     print(advbench.verify(f"{run}/it", model=model, data=data).failures)
    []
    """
    from advbench.core.preprocess import Preprocess
    from advbench.evaluation import Result
    from advbench.evaluation import verify as check
    from advbench.wrappers import wrapped_as_in

    run = Path(run)
    result = Result.load(run)
    source = _named(result.model.source, run) if model is None else model
    images = _data(data, result.data)
    bare = _model(source, Preprocess.of(result.model.preprocess), weights)
    return check(run, model=wrapped_as_in(result.model.record, bare, images.shape), data=images)


def _named(source: str, run: Path) -> str:
    """Return the name of the model in a result, unless loading it would run code or query a server."""
    from advbench.remote import is_target

    if source == "memory":
        raise UsageError(f"the model of {run} was in memory: pass it as `model`")
    if ":" in source or is_target(source):
        what = f"the model of {run} is code or a URL, which verification runs or queries"
        raise UsageError(f"{what}: if you trust it, add --model {source}")
    return source


def _model(model: Any, preprocess: Preprocess, weights: Path | None) -> LoadedModel:
    from advbench.core.loaded import LoadedModel
    from advbench.models.load import load_model
    from advbench.models.memory import of_object

    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, str | Path):
        return load_model(str(model), preprocess, weights)
    return of_object(model, preprocess)


def _data(data: Any, about: DataInfo) -> Dataset:
    from advbench.data import Dataset, Reading, again, load

    if data is None:
        return again(about.name, about.source, about.split, about.reading)
    if isinstance(data, str | Path):
        return load(data, about.split, reading=Reading.of(about.reading))
    return data if isinstance(data, Dataset) else Dataset.from_arrays(data[0], data[1], about.classes)
