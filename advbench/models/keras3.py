"""Keras 3 models on its JAX backend, as pure functions of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from advbench.core.errors import CorruptFile, UsageError
from advbench.core.model import Model


def pure(model: Any, spec: str) -> Model:
    """Make a model's outputs, in inference mode, a pure function whose pytree holds the weights.

    Parameters
    ----------
    model : keras.Model
        Maps images [B, H, W, C] float32 to logits [B, K], or to several outputs; built, so that it has weights.
    spec : str
        Name of the factory, for messages.

    Returns
    -------
    Model
        Maps images to the outputs.

    Raises
    ------
    UsageError
        When Keras runs on another backend, or the model is not built.
    """
    import keras

    if (backend := keras.backend.backend()) != "jax":
        raise UsageError(f"{spec} is a Keras model on {backend}: set KERAS_BACKEND=jax")
    if not model.built:
        raise UsageError(f"{spec} returned a Keras model that is not built: call model.build((None, H, W, C)) first")

    listed = isinstance(getattr(model, "_inputs_struct", None), list)  # one input, given to its model in a list

    def outputs(trainable: Any, other: Any, images: jax.Array) -> Any:
        return model.stateless_call(trainable, other, [images] if listed else images, training=False)[0]

    weights = ([v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables))
    return jax.tree_util.Partial(outputs, *weights)


def record() -> dict[str, Any]:
    """Return the version of the framework, for the record.

    Returns
    -------
    dict
        `{"framework": "keras VERSION"}`.
    """
    import keras

    return {"framework": f"keras {keras.__version__}"}


def fill(model: Any, path: Path) -> None:
    """Put weights from a `.weights.h5` file into a built model.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    path : Path
        File written by `model.save_weights`.

    Raises
    ------
    UsageError
        When it is another kind of file: whole models hold more than weights, and are not opened.
    CorruptFile
        When it can't be read, or is for another model.
    """
    if not path.name.endswith(".weights.h5"):
        raise UsageError(f"{path} is not a .weights.h5 file: write one with model.save_weights('NAME.weights.h5')")
    if not path.is_file():
        raise UsageError(f"no file {path}")
    try:
        model.load_weights(path)
    except Exception as error:  # whatever damaged bytes make of a reader
        why = " ".join(str(error).split())
        raise CorruptFile(f"{path} does not fit or is damaged: {type(error).__name__}: {why[:200]}") from error
