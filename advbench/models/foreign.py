"""Files and folders that are not read as models: a name for each kind, and another way to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from advbench.core.usercode import makers

ONNX: Final = "export the network to ONNX"
TORCH: Final = "name a factory of the module and give the state dict: file.py:factory --weights FILE"
KERAS: Final = "name a factory of the model and give weights alone: file.py:factory --weights NAME.weights.h5"
ARRAYS: Final = "return the model and these arrays, (apply, params), from a factory: file.py:factory"
UNSAFE: Final = "is not opened, since such files can hold more than weights"

KINDS: Final = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin"), (UNSAFE, TORCH)),
    **dict.fromkeys((".keras", ".h5", ".hdf5"), (UNSAFE, KERAS)),
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"), (UNSAFE, "write a factory, file.py:factory, which makes the model")
    ),
    ".pt2": ("is a program of torch.export", "return torch.export.load(FILE).module() from a factory: file.py:factory"),
    ".tflite": ("is a TensorFlow Lite model", f"{ONNX} (tf2onnx), or serve it behind HTTP"),
    ".msgpack": ("holds Flax parameters", f"read them by flax.serialization.msgpack_restore; {ARRAYS}"),
    **dict.fromkeys((".npz", ".npy"), ("holds NumPy arrays", f"read them by numpy.load; {ARRAYS}")),
    ".ort": ("is ONNX Runtime's own format", "name the .onnx file that it was made of"),
    ".eqx": ("holds Equinox leaves", "return eqx.tree_deserialise_leaves(FILE, model) from a factory: file.py:factory"),
    **dict.fromkeys(
        (".engine", ".plan", ".trt"),
        ("is a TensorRT engine, which has no gradient", f"{ONNX}, or serve it behind HTTP"),
    ),
    ".pb": ("is a TensorFlow graph", f"{ONNX} (tf2onnx), or load it in Keras from a factory: file.py:factory"),
    **dict.fromkeys((".mlmodel", ".mlpackage"), ("is a Core ML model", f"{ONNX} from where it was trained")),
    **dict.fromkeys((".xml", ".blob"), ("is an OpenVINO model", f"{ONNX}, or serve it behind HTTP")),
    **dict.fromkeys((".safetensors",), ("has no model.json beside it, so it holds weights alone", TORCH)),
    **dict.fromkeys((".gz", ".zip", ".tar", ".tgz", ".xz"), ("is an archive", "unpack it and name what is in it")),
}
"""Kind of a file and what to do instead, by the end of its name."""

FOLDERS: Final = {
    "saved_model.pb": ("is a TensorFlow SavedModel", f"{ONNX} (tf2onnx), serve it behind HTTP, or {KERAS}"),
    "_CHECKPOINT_METADATA": ("is an Orbax checkpoint", f"restore it by orbax.checkpoint; {ARRAYS}"),
    "_METADATA": ("is an Orbax checkpoint", f"restore it by orbax.checkpoint; {ARRAYS}"),
    "manifest.ocdbt": ("is an Orbax checkpoint", f"restore it by orbax.checkpoint; {ARRAYS}"),
    "checkpoint": ("is a checkpoint of TensorFlow or Flax", f"restore it in a factory; {ARRAYS}"),
    "MLmodel": ("is an MLflow model", "serve it (mlflow models serve) and name .../invocations, or write a factory"),
    "config.json": (
        "is a folder of Hugging Face's",
        "return AutoModelForImageClassification.from_pretrained(FOLDER) from a factory: file.py:factory",
    ),
    "Manifest.json": ("is a Core ML package", f"{ONNX} from where it was trained"),
}
"""The same of folders, by a file or folder in them."""


def kind_of(path: Path) -> str | None:
    """Describe in one line a file or folder that is not read as a model, and what to do.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    str or None
        None for an unknown kind.
    """
    if path.is_dir():
        known = next((about for name, about in FOLDERS.items() if (path / name).exists()), None)
        return _line(path, known) if known else None
    if path.suffix == ".py":
        return _code(path) if path.is_file() else None
    known = KINDS.get(path.suffix.lower())
    is_known = known is not None and (path.is_file() or known[0] == UNSAFE)
    return _line(path, known) if known and is_known else None


def _line(path: Path, about: tuple[str, str]) -> str:
    return f"{path} {about[0]}: {about[1]}"


def _code(path: Path) -> str:
    """List the functions of a file of code that could make the model."""
    if found := makers(path):
        return (
            f"{path} is code: name the function in it that makes the model, {' or '.join(f'{path}:{n}' for n in found)}"
        )
    return f"{path} is code without a function that takes nothing: write one that returns the model, {path}:FUNCTION"
