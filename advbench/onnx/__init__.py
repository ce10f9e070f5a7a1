"""Models in ONNX files, translated to JAX so that attacks see their exact gradients."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from advbench.core.preprocess import Preprocess, prepared
from advbench.nn.rewrite import Rewritten
from advbench.onnx.check import compare
from advbench.onnx.graph import build, logits_of
from advbench.onnx.program import parse

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

COLOURS = 3  # most channels of an image; a longer axis is height or width


def load(path: Path, preprocess: Preprocess) -> LoadedModel:
    """Translate a model file.

    Parameters
    ----------
    path : Path
        `.onnx` or `.onnx.gz`.
    preprocess : Preprocess
        Declared preprocessing; without a layout, `LoadedModel.layouts` lists those that the input's shape allows.

    Returns
    -------
    LoadedModel
        Its `compare` runs ONNX Runtime.

    Raises
    ------
    UsageError
        In one line, when the file can't be read or translated.
    """
    from advbench.core.loaded import LoadedModel

    program = parse(path)
    graph, weights = build(program, path)
    graph, classes = logits_of(graph, weights, program, path)
    layouts = _layouts(program.shape)
    model = LoadedModel(
        name=path.name.removesuffix(".gz").removesuffix(".onnx"),
        predict=Rewritten(jax.tree_util.Partial(graph, weights)),
        shape=_image(program.shape, layouts),
        classes=classes,
        dataset=None,
        digest=program.digest,
        compare=partial(compare, path, graph),
    )
    return prepared(model, preprocess, layouts)


def _layouts(shape: tuple[int | None, ...]) -> tuple[str, ...]:
    """List the orders of axes that an input of this shape may have, the most likely first."""
    if len(shape) == 2:
        return ("flat-chw", "flat-hwc", "flat-cwh", "flat-whc")
    if len(shape) == 3:
        return ("nhw", "nwh")
    first, last = (side is not None and side <= COLOURS for side in (shape[1], shape[3]))
    if first == last:
        return ("nchw", "nhwc", "ncwh", "nwhc")
    return ("nchw", "ncwh") if first else ("nhwc", "nwhc")


def _image(shape: tuple[int | None, ...], layouts: tuple[str, ...]) -> tuple[int, int, int] | None:
    """Return the image shape (H, W, C), if all layouts agree on it."""
    if len(shape) != 4 or len(layouts) != 2:
        return None
    c, h, w = shape[1:] if layouts[0] == "nchw" else (shape[3], *shape[1:3])
    return (h, w, c) if h == w and h and w and c else None
