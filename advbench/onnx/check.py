"""Comparison of the translation with ONNX Runtime, if that is installed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from advbench.core.choice import Wanted, picked
from advbench.core.flag import Flag
from advbench.core.outputs import wanted_of
from advbench.onnx.graph import OnnxGraph
from advbench.onnx.program import read

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

SAME: Final = 1e-5  # of the largest logit, in float32
COARSER: Final = {"float16": 2**13, "bfloat16": 2**16}  # steps of these types, in float32's
STEPS_OF_BYTES: Final = 2**13  # a value on the edge between two of 256 steps may fall either way, and move others
IMAGES: Final = 64


def compare(path: Path, graph: OnnxGraph, model: LoadedModel, images: Any) -> Flag | None:
    """Compare logits with those of ONNX Runtime.

    Parameters
    ----------
    path : Path
        The file that the model comes from.
    graph : OnnxGraph
        Its translation, with the batch size and the names of input and output.
    model : LoadedModel
        The model with its preprocessing.
    images : Array
        float32 `[n, H, W, C]` in [0, 1]; the first 64 are compared.

    Returns
    -------
    Flag or None
        `translation`: `invalid` if a logit differs by more than 1e-5 of the largest, a difference that can change the
        class only at a tie. The tolerance is larger for graphs that compute in half precision, in proportion to its
        rounding. A `note` if ONNX Runtime is missing or can't run the file. Otherwise the note `straight_through` for a
        graph that quantises activations, else None.
    """
    found = _compared(path, graph, model, images[:IMAGES])
    if not graph.rounds or (found is not None and found.level == "invalid"):
        return found
    return Flag(
        name="straight_through",
        level="note",
        evidence={"compared": found is None},
        message="activations are quantised, and gradients pass straight through the rounding, as an approximation: add "
        "an attack that needs scores alone, --attack square" + (f"; {found.message}" if found else ""),
    )


def _compared(path: Path, graph: OnnxGraph, model: LoadedModel, images: Any) -> Flag | None:
    try:
        true = _reference(path, graph, np.asarray(model.preprocess(jnp.asarray(images))), wanted_of(model.predict))
    except ImportError:
        return _note("was not compared with ONNX Runtime, which is not installed: pip install onnxruntime")
    except Exception as error:  # whatever ONNX Runtime says of a file it can't run
        return _note(f"was not compared: ONNX Runtime says {' '.join(str(error).split())[:200]}")
    got = np.asarray(jax.jit(lambda model, x: model(x))(model.predict, images), np.float64)
    coarser = max(COARSER.get(kind, 1) for kind in _types(jax.make_jaxpr(model.predict)(images[:1]).jaxpr))
    allowed = SAME * max(coarser, STEPS_OF_BYTES if graph.rounds else 1)
    return _verdict(got, true.astype(np.float64), allowed)


def _verdict(got: np.ndarray, true: np.ndarray, allowed: float) -> Flag | None:
    scale = float(np.abs(true).max())
    off = float(np.abs(got - true).max()) / max(scale, 1e-30)
    if off <= allowed:  # so another class may win only where two are within twice that: a tie
        return None
    differs = int((got.argmax(-1) != true.argmax(-1)).sum())
    return Flag(
        name="translation",
        level="invalid",
        evidence={"difference": off if math.isfinite(off) else None, "n": len(true), "top_1_differs": differs},
        message=f"the translation to JAX gives logits that differ from ONNX Runtime's by {off:.1g} of the largest, "
        f"{allowed:.0e} being allowed; {differs} of {len(true)} images get another class",
    )


def _note(what: str) -> Flag:
    return Flag(name="translation", level="note", evidence={}, message=f"the translation to JAX {what}")


def _types(program: Any) -> Iterator[str]:
    """Return the names of the types of all values that a program computes, those of inner graphs included."""
    for equation in program.eqns:
        yield from (str(value.aval.dtype) for value in equation.outvars if hasattr(value.aval, "dtype"))
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from _types(inner)


def _reference(path: Path, graph: OnnxGraph, x: np.ndarray, wanted: Wanted) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.resolve().parent))
    session = onnxruntime.InferenceSession(read(path), options, providers=["CPUExecutionProvider"])
    kind = next(value.type for value in session.get_inputs() if value.name == graph.input)
    x = x.astype(np.float64 if "double" in kind else graph.dtype)
    size = graph.batch or len(x)
    rows = np.arange(-(-len(x) // size) * size) % len(x)
    parts = [session.run(list(graph.outputs), {graph.input: x[take]}) for take in rows.reshape(-1, size)]
    whole = [np.concatenate(part)[: len(x)] for part in zip(*parts, strict=True)]
    given = whole[0] if len(whole) == 1 else dict(zip(graph.outputs, whole, strict=True))
    return np.asarray(picked(given, wanted))
