"""Attention as one operator, and the rotary embeddings of transformers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from advbench.onnx.nodes import OnnxNode
from advbench.onnx.operators.base import HIGHEST, Untranslatable, Value, operator


@operator("Attention")
def _attention(node: OnnxNode, q: Value, k: Value, v: Value, mask: Value = None, *cache: Value) -> Value:
    """Compute softmax(q k^T scale + mask) v, by head; rows that are fully masked give 0.

    Only the first output is returned. Caches of keys and values are of no use to a classifier, and refused.
    """
    if any(value is not None for value in cache):
        raise Untranslatable("keys and values of earlier calls, or their lengths, are not supported")
    settings, rows = node.attributes, q.ndim == 3
    if rows:
        q = _by_head(q, settings["q_num_heads"])
        k, v = (_by_head(value, settings["kv_num_heads"]) for value in (k, v))
    scale = settings.get("scale") or 1 / np.sqrt(q.shape[-1])
    root = jnp.asarray(np.sqrt(scale), q.dtype)
    groups = q.shape[1] // k.shape[1]
    if groups * k.shape[1] != q.shape[1]:
        raise Untranslatable(f"{q.shape[1]} query heads do not fit {k.shape[1]} key heads")
    k, v = (jnp.repeat(value, groups, 1) if groups > 1 else value for value in (k, v))
    scores = jnp.einsum("bhqd,bhkd->bhqk", q * root, k * root, precision=HIGHEST)
    bias = _bias(node, mask, scores)
    if cap := settings.get("softcap", 0.0):
        if bias is not None and node.opset < 24:
            raise Untranslatable("softcap with a mask is not supported: opset 23 does not say which comes first")
        scores = cap * jnp.tanh(scores / cap)
    y = jnp.einsum("bhqk,bhkd->bhqd", _softmax(scores, bias, settings.get("softmax_precision")), v, precision=HIGHEST)
    return y.transpose(0, 2, 1, 3).reshape(len(y), y.shape[2], -1) if rows else y


def _by_head(x: Value, heads: int) -> Value:
    """Reshape [B, L, heads * D] to [B, heads, L, D]."""
    return jnp.asarray(x).reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def _bias(node: OnnxNode, mask: Value, scores: Value) -> Value:
    """Return the bias of the scores: -inf where a query is masked; None without a mask."""
    queries, keys = scores.shape[-2:]
    found = None
    if mask is not None:
        mask = jnp.asarray(mask)
        found = jnp.where(mask, 0, -jnp.inf) if mask.dtype == bool else mask
        if missing := keys - mask.shape[-1]:
            found = jnp.pad(found, [(0, 0)] * (mask.ndim - 1) + [(0, missing)], constant_values=-jnp.inf)
    ahead = np.arange(keys) - np.arange(queries)[:, None]
    allowed = np.full((queries, keys), True)
    if node.attributes.get("is_causal"):
        allowed &= ahead <= 0
    if (left := node.attributes.get("left_window_size", -1)) >= 0:
        allowed &= ahead >= -left
    if (right := node.attributes.get("right_window_size", -1)) >= 0:
        allowed &= ahead <= right
    if allowed.all():
        return None if found is None else found.astype(scores.dtype)
    hidden = jnp.asarray(np.where(allowed, 0, -np.inf))
    return (hidden if found is None else hidden + found).astype(scores.dtype)


def _softmax(scores: Value, bias: Value, precision: int | None) -> Value:
    """Compute the softmax in the type asked for; a row that is fully masked gives no NaN in values and gradients."""
    from onnx import helper

    kind = scores.dtype
    if precision is not None and np.dtype(wanted := helper.tensor_dtype_to_np_dtype(precision)) != np.float64:
        scores = scores.astype(wanted)
    if bias is None:
        hidden = jnp.zeros((), bool)
    else:
        hidden = jnp.isneginf(bias)
        scores = scores + jnp.where(hidden, 0, bias).astype(scores.dtype)
    highest = jnp.max(scores, -1, keepdims=True, where=~hidden, initial=-jnp.inf)
    highest = jnp.where(jnp.isneginf(highest), 0, highest)
    parts = jnp.where(hidden, 0, jnp.exp(jnp.where(hidden, 0, scores - highest)))
    total = parts.sum(-1, keepdims=True)
    return (parts / jnp.where(total == 0, 1, total)).astype(kind)


@operator("RotaryEmbedding")
def _rotary(node: OnnxNode, x: Value, cosines: Value, sines: Value, positions: Value = None) -> Value:
    """Rotate pairs of numbers by angles that depend on the position: halves, or neighbours if `interleaved`."""
    x = jnp.asarray(x)
    heads, rows = x, x.ndim == 3
    if rows:
        if not node.attributes.get("num_heads"):
            raise Untranslatable("num_heads is missing")
        heads = _by_head(x, node.attributes["num_heads"])
    turned = node.attributes.get("rotary_embedding_dim") or heads.shape[-1]
    if positions is not None:
        cosines, sines = (jnp.take(jnp.asarray(value), positions, 0) for value in (cosines, sines))
    cos, sin = (jnp.asarray(value)[:, None] for value in (cosines, sines))
    if cos.shape[-1] != turned // 2:
        raise Untranslatable(f"{cos.shape[-1]} angles are given for {turned // 2} pairs")
    part, rest = heads[..., :turned], heads[..., turned:]
    if node.attributes.get("interleaved"):
        a, b = part[..., 0::2], part[..., 1::2]
        part = jnp.stack([cos * a - sin * b, sin * a + cos * b], -1).reshape(part.shape)
    else:
        a, b = jnp.split(part, 2, -1)
        part = jnp.concatenate([cos * a - sin * b, sin * a + cos * b], -1)
    y = jnp.concatenate([part, rest], -1)
    return y.transpose(0, 2, 1, 3).reshape(x.shape) if rows else y
