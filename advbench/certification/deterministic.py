"""Certification by bounds of the network itself, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.bounds import (
    Graph,
    Method,
    Unsupported,
    margins,
    read,
)
from advbench.core.batches import Batches
from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.norms import NORMS
from advbench.core.spec import ThreatSpec
from advbench.core.threat import Threat
from advbench.evaluation.judge import TOLERANCE

CHUNK = 256  # images between two reports of progress
ROUNDING = 1e-5  # of an image's largest logit: float32 logits differ by less between batch shapes and kernels
MEMORY = 2**31  # bytes that the coefficients of one call may take
COPIES = 4  # of the largest coefficients, at the same time


def lower_bounds(
    model: LoadedModel,
    threat: ThreatSpec,
    x: np.ndarray,
    y: np.ndarray,
    method: Method,
    batch_size: int,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Bound every image's margin from below, over a ball as large as the judge allows.

    Parameters
    ----------
    model : LoadedModel
        Model to bound.
    threat : ThreatSpec
        Norm and eps.
    x : np.ndarray
        Clean images, float32 `[n, H, W, C]` in [0, 1].
    y : np.ndarray
        Labels, int32 `[n]`.
    method : Method
        See `advbench.bounds.margins`; linear bounds are never below those of intervals here, since both are computed.
    batch_size : int
        Images in a call, fewer if memory requires it; it does not change the result.
    tell : Callable[[int, int], None], default lambda done, total: None
        Called with the number of images done and in all.

    Returns
    -------
    np.ndarray
        float64 `[n]`: a lower bound of the right logit minus the best other one anywhere in the ball.

    Raises
    ------
    UsageError
        When the model contains an operation that can't be bounded, or full linear bounds would not fit in memory.
    """
    try:
        graph = read(model.predict, x.shape[1:])
    except Unsupported as error:
        raise UsageError(f"{model.name} can't be certified: {error}; --method smoothing takes any model") from None
    width = min(batch_size, _fitting(graph, threat, method))
    eps = float(threat.eps) + TOLERANCE * max(1.0, float(threat.eps))
    norm = NORMS[threat.norm]

    @jax.jit
    def worst(constants: Any, eps: Array, x: Array, y: Array) -> Array:
        here = graph.given(constants)

        def of_image(x: Array, y: Array) -> Array:
            ways: tuple[Method, ...] = ("ibp",) if method == "ibp" else ("ibp", method)
            found = jnp.stack([margins(here, Threat(norm, eps), x, y, way) for way in ways]).max(0)
            others = jnp.arange(len(found)) != y
            return jnp.where(others, found, jnp.inf).min()

        return jax.vmap(of_image)(x, y)

    batches, found = Batches(width), []
    for at in range(0, len(x), CHUNK):
        some = slice(at, at + CHUNK)
        with jax.enable_x64(True):
            call = partial(worst, graph.constants, np.float64(eps))
            found.append(batches.map(call, x[some].astype(np.float64), y[some], size=width))
        tell(min(at + CHUNK, len(x)), len(x))
    return np.concatenate(found)


def certified(bounds: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Mark certified images; a bound that is NaN, or within rounding of 0, proves nothing.

    Parameters
    ----------
    bounds : np.ndarray
        Lower bounds of margins, float64 `[n]`.
    logits : np.ndarray
        Clean logits, float32 `[n, K]`, for their scale.

    Returns
    -------
    np.ndarray
        bool `[n]`.
    """
    proven: np.ndarray = bounds > ROUNDING * np.abs(logits).max(1)
    return proven


def _fitting(graph: Graph, threat: ThreatSpec, method: Method) -> int:
    """Return the images a call for which the coefficients of the largest pair of layers fit in memory."""
    sizes = [prod(node.shape) for node in graph.nodes]
    rows = graph.nodes[-1].shape[-1]
    if method == "crown":
        refined = graph.refined(boxed=threat.norm in ("linf", "any"))
        rows = max((2 * sizes[at] for at in refined), default=rows)
    image = COPIES * 8 * rows * max(sizes)
    if image > MEMORY:
        raise UsageError(
            f"linear bounds of all neurons need {image / 2**30:.1f} GiB for one image: take --method crown-ibp, "
            "which has linear bounds of the logits only"
        )
    return max(1, MEMORY // image)
