"""The user's own code: a factory in a file or a module, and what is made of what it returns."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from advbench.core.model import Model
from advbench.core.usercode import function_of
from advbench.models.adapt import adapt, fill
from advbench.models.fingerprint import fingerprint


class Users(NamedTuple):
    """A model of the user's code, and what `LoadedModel` should say of it."""

    name: str
    predict: Model  # takes images in the first of `layouts`
    layouts: tuple[str, ...]
    digest: str
    record: dict[str, Any]


def users_model(where: str, factory: str, weights: Path | None = None) -> Users:
    """Call `factory()` of a file or module, which may return anything that `adapt` knows.

    Parameters
    ----------
    where : str
        `path/to/file.py` or `package.module`.
    factory : str
        Name of a function without arguments.
    weights : Path, optional
        Put into what it returned, a PyTorch or Keras model.

    Raises
    ------
    UsageError
        The code fails, or returns what is no model; the weights do not fit.
    CorruptFile
        The weights can't be read.
    """
    spec = f"{where}:{factory}"
    os.environ.setdefault("KERAS_BACKEND", "jax")  # read once, when Keras is first imported
    with function_of(where, factory) as (module, make):
        made = make()
        if weights:
            fill(made, weights, spec)
        adapted = adapt(made, spec)
    name = f"{Path(where).stem if where.endswith('.py') else where}:{factory}"
    return Users(name, adapted.predict, adapted.layouts, fingerprint(module, factory, made), adapted.record)
