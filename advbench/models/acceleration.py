"""Faster code for your own model: the same function, or the model itself if there is none.

Nothing is taken on trust: what is faster is held against what was given, logits and input gradients, each time that a
model meets its images. Where it is not the same to rounding, the model is attacked as given, and one line says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from advbench.core.ambient import own_settings
from advbench.core.execution import Execution
from advbench.core.external import External, Untranslated
from advbench.core.loaded import LoadedModel
from advbench.core.model import Model
from advbench.core.outputs import Logits
from advbench.core.randomised import Randomised
from advbench.core.translated import Translated
from advbench.models.agreement import difference
from advbench.nn import rewrite


@own_settings()
def accelerated(
    model: LoadedModel, images: np.ndarray, notify: Callable[[str], None], *, translate: bool = True
) -> LoadedModel:
    """Make a model faster without changing what it computes.

    A network of PyTorch is translated to JAX; what is attacked then is the translation, what judges is the network
    itself. In a network of JAX operators of this package take the place of JAX's own.

    Parameters
    ----------
    model : LoadedModel
        Its input layout found out, its logits chosen.
    images : np.ndarray
        Float32 `[n, H, W, C]` in [0, 1] of the data that it will meet, on which both are compared.
    notify : callable
        Told in a line why a model stays as it is, where it could have been faster.
    translate : bool
        Whether to translate.

    Returns
    -------
    LoadedModel
        `execution` says what was done; None where there was nothing to do.
    """
    if model.execution is not None or model.access != "gradient":
        return model
    shape, execution = (2, *images.shape[1:]), Execution(attacked="rewritten")
    try:
        if any(isinstance(node, External) and node.translate for node in _nodes(model.predict)):
            if not translate:
                return replace(model, execution=Execution(attacked="as given", reason="asked for"))
            faster, execution = _translated(model, shape), Execution(attacked="translated")
        else:
            faster = model.predict
    except Untranslated as error:
        return _as_given(model, "translated to JAX", str(error), notify)
    found = _replaceable(faster, shape)
    if found is None:
        return model if faster is model.predict else _proven(model, faster, images, notify, execution)
    execution = execution.model_copy(update={"convolutions": found.convolutions, "pools": found.pools})
    return _proven(model, _over(faster, _rewritten), images, notify, execution)


def _translated(model: LoadedModel, shape: tuple[int, ...]) -> Model:
    """The model with translations in the place of networks that are outside JAX."""
    taken = jax.eval_shape(model.preprocess, jax.ShapeDtypeStruct(shape, jnp.float32)).shape[1:]

    def translated(node: Any) -> Any:
        if not isinstance(node, External) or node.translate is None:
            return node
        return Translated(Logits(node.translate(taken), node.wanted), node)

    return _over(model.predict, translated)


def _replaceable(predict: Model, shape: tuple[int, ...]) -> rewrite.Count | None:
    """Count the operations that a rewrite would replace; None if there are none."""
    if not rewrite.enabled():
        return None
    try:
        found = rewrite.count(predict, jax.ShapeDtypeStruct(shape, jnp.float32))
    except Exception:  # whatever a network may raise on such images is told by the preflight
        return None
    return found if found.convolutions + found.pools else None


def _rewritten(node: Any) -> Any:
    if isinstance(node, Translated):
        return replace(node, translation=_rewritten(node.translation))
    return replace(node, network=rewrite.Rewritten(node.network)) if type(node) is Logits else node


def _over(predict: Model, change: Callable[[Any], Any]) -> Model:
    """A model whose networks are changed, whatever lies around them."""
    found: Model = jax.tree.map(change, predict, is_leaf=_is_network)
    return found


def _nodes(predict: Model) -> list[Any]:
    found: list[Any] = jax.tree.leaves(predict, is_leaf=_is_network)
    return found


def _is_network(node: object) -> bool:
    return isinstance(node, Logits | External | Translated)


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
        return _as_given(model, execution.attacked, reason, notify)
    told = execution.model_copy(update={"logits": off.logits, "gradients": off.gradients})
    return replace(model, predict=faster, execution=told)


def _as_given(model: LoadedModel, what: str, reason: str, notify: Callable[[str], None]) -> LoadedModel:
    notify(f"{model.name}: attacked as given, not {what}: {reason}")
    return replace(model, execution=Execution(attacked="as given", reason=reason))


def _few_draws(predict: Model) -> Model:
    return replace(predict, draws=2) if isinstance(predict, Randomised) else predict
