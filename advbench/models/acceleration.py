"""What attacks compute in the place of a model that was brought along: the same function, faster, or the model itself.

Nothing is taken on trust: what is faster is held against what was given, logits and input gradients, each time that a
model meets its images. Where it is not the same to rounding, the model is attacked as given, and one line says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from advbench.core.ambient import own_settings
from advbench.core.execution import Execution
from advbench.core.loaded import LoadedModel
from advbench.core.model import Model
from advbench.core.outputs import Logits
from advbench.core.randomised import Randomised
from advbench.models.agreement import difference
from advbench.nn import rewrite


@own_settings()
def accelerated(model: LoadedModel, images: np.ndarray, notify: Callable[[str], None]) -> LoadedModel:
    """Make a model faster without changing what it computes.

    Parameters
    ----------
    model : LoadedModel
        Its input layout found out, its logits chosen.
    images : np.ndarray
        Float32 `[n, H, W, C]` in [0, 1] of the data that it will meet, on which both are compared.
    notify : callable
        Told in a line why a model stays as it is, where it could have been faster.

    Returns
    -------
    LoadedModel
        `execution` says what was done; None where there was nothing to do.
    """
    if model.execution is not None or model.access != "gradient" or not rewrite.enabled():
        return model
    try:
        found = rewrite.count(model.predict, jax.ShapeDtypeStruct((2, *images.shape[1:]), jnp.float32))
    except Exception:  # whatever a network may raise on such images is told by the preflight
        return model
    if not found.convolutions + found.pools:
        return model
    return _proven(
        model,
        _rewritten(model.predict),
        images,
        notify,
        Execution(attacked="rewritten", convolutions=found.convolutions, pools=found.pools),
    )


def _rewritten(predict: Model) -> Model:
    def rewritten(node: object) -> object:
        return replace(node, network=rewrite.Rewritten(node.network)) if type(node) is Logits else node

    found: Model = jax.tree.map(rewritten, predict, is_leaf=lambda node: isinstance(node, Logits))
    return found


def _proven(
    model: LoadedModel, faster: Model, images: np.ndarray, notify: Callable[[str], None], execution: Execution
) -> LoadedModel:
    """The faster model if it is the same function, else the one given."""
    try:
        off = difference(_few_draws(model.predict), _few_draws(faster), images)
        reason = off.reason
    except Exception as error:  # whatever a program that was made by rewriting may raise
        reason = f"it fails: {type(error).__name__}: {(' '.join(str(error).split()) or 'no message')[:200]}"
    if reason is not None:
        notify(f"{model.name}: attacked as given, not {execution.attacked}: {reason}")
        return replace(model, execution=Execution(attacked="as given", reason=reason))
    told = execution.model_copy(update={"logits": off.logits, "gradients": off.gradients})
    return replace(model, predict=faster, execution=told)


def _few_draws(predict: Model) -> Model:
    return replace(predict, draws=2) if isinstance(predict, Randomised) else predict
