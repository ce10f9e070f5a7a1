"""Models from the user's code: a factory in a file or a module."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from advbench.core.model import Model
from advbench.core.usercode import function_of
from advbench.models.adapt import adapt, fill
from advbench.models.fingerprint import fingerprint


class UserModel(NamedTuple):
    """A model from the user's code, and facts for its `LoadedModel`."""

    name: str
    predict: Model  # takes images in the first of `layouts`
    layouts: tuple[str, ...]
    digest: str
    record: dict[str, Any]


def users_model(where: str, factory: str, weights: Path | None = None) -> UserModel:
    """Call `factory()` of a file or module, which may return anything that `adapt` takes.

    Parameters
    ----------
    where : str
        `path/to/file.py` or `package.module`.
    factory : str
        Name of a function without arguments.
    weights : Path, optional
        Weights for the PyTorch or Keras model that it returned.

    Returns
    -------
    UserModel
        The model, its layouts, digest and record.

    Raises
    ------
    UsageError
        When the code fails, returns anything but a model, or the weights do not fit.
    CorruptFile
        When the weights can't be read.
    """
    spec = f"{where}:{factory}"
    os.environ.setdefault("KERAS_BACKEND", "jax")  # read once, when Keras is first imported
    with function_of(where, factory) as (module, make):
        made = make()
        if weights:
            fill(made, weights, spec)
        adapted = adapt(made, spec)
    name = f"{Path(where).stem if where.endswith('.py') else where}:{factory}"
    return UserModel(name, adapted.predict, adapted.layouts, fingerprint(module, factory, made), adapted.record)
