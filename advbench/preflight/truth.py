"""Reference implementations of the self-test: the same operations in NumPy float64, written the direct way."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from advbench.core.threefry import threefry

Array = NDArray[Any]


def squared_rows(m: Array, rows: Array) -> Array:
    """Return the squared length of `m @ row` for each row: `[d, d]`, `[n, d]` -> `[n]`."""
    return np.asarray(np.square(rows @ m.T).sum(1))


def convolution(x: Array, kernel: Array, dy: Array, stride: int, pad: int) -> tuple[Array, Array, Array]:
    """Return output, input gradient and weight gradient of a cross-correlation with zero padding.

    Parameters
    ----------
    x, kernel : np.ndarray
        Images `[B, H, W, C]` and weights `[kh, kw, C, O]`.
    dy : np.ndarray
        Gradient with respect to the output, `[B, H', W', O]`.
    stride, pad : int
        Stride and padding in both directions, in pixels.
    """
    padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    y, dx, dw = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(kernel)
    height, width = dy.shape[1:3]
    for i, j in np.ndindex(kernel.shape[:2]):
        seen = np.s_[:, i : i + stride * height : stride, j : j + stride * width : stride]
        y += padded[seen] @ kernel[i, j]
        dx[seen] += dy @ kernel[i, j].T
        dw[i, j] = np.tensordot(padded[seen], dy, ([0, 1, 2], [0, 1, 2]))
    return y, dx[:, pad : dx.shape[1] - pad, pad : dx.shape[2] - pad], dw


def max_pool(x: Array, dy: Array) -> tuple[Array, Array]:
    """Return maxima of disjoint 2 x 2 windows, and the input gradient: the first of tied maxima gets all of it."""
    y, dx = np.empty_like(dy), np.zeros_like(x)
    for b, i, j, c in np.ndindex(dy.shape):
        window = x[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        p, q = np.unravel_index(window.argmax(), window.shape)
        y[b, i, j, c] = window[p, q]
        dx[b, 2 * i + p, 2 * j + q, c] = dy[b, i, j, c]
    return y, dx


def log_softmax(logits: Array) -> tuple[Array, Array]:
    """Return log-probabilities `[B, K]`, and the gradient of the summed cross-entropy for class 0."""
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_p, np.exp(log_p) - np.eye(logits.shape[-1])[0]


def reductions(x: Array) -> tuple[Array, ...]:
    """Return sums and maxima of a matrix along each axis, and variance and log-sum-exp of its rows."""
    top = x.max(1, keepdims=True)
    log_sum = np.log(np.exp(x - top).sum(1)) + top[:, 0]
    return x.sum(0), x.sum(1), x.max(0), x.max(1), x.var(1), log_sum


def ranking(x: Array) -> tuple[Array, ...]:
    """Return the first maximum of each row, the three largest, and the stable order, of `[B, K]` with ties."""
    order = np.argsort(-x, 1, kind="stable")
    return x.argmax(1), np.take_along_axis(x, order[:, :3], 1), order


def elementary(x: Array) -> tuple[Array, ...]:
    """Return the elementary functions that losses and changes of variables use, on (0, 1)."""
    return np.exp(10 * x), np.log(x), np.sqrt(x), np.tanh(4 * x - 2), np.arctanh(2 * x - 1)


def random(seed: Array, index: Array) -> tuple[Array, Array]:
    """Return the key `fold_in(key(seed), index)` and eight uniform numbers drawn with it."""
    zero = np.uint32(0)
    key = threefry(np.array([zero, seed]), np.array([[zero], [index]]))[:, 0]
    bits = np.bitwise_xor(*threefry(key, np.stack([np.zeros(8, np.uint32), np.arange(8, dtype=np.uint32)])))
    return key, (bits >> np.uint32(9)) / 2.0**23


def project_linf(d: Array, eps: Array, low: Array, high: Array) -> Array:
    """Project onto the Linf ball and the pixel range."""
    return np.asarray(np.clip(d, np.maximum(low, -eps), np.minimum(high, eps)))


def project_l2(d: Array, eps: Array, low: Array, high: Array) -> Array:
    """Scale into the L2 ball, then clip to the pixel range."""
    return np.asarray(np.clip(d * min(1.0, eps / np.sqrt(np.square(d).sum())), low, high))


def project_l1(d: Array, eps: Array, low: Array, high: Array) -> Array:
    """Project onto the L1 ball and the pixel range: soft-threshold, then clip; the threshold is found by bisection."""

    def shrunk(threshold: float) -> Array:
        return np.asarray(np.clip(np.sign(d) * np.maximum(np.abs(d) - threshold, 0), low, high))

    if np.abs(shrunk(0.0)).sum() <= eps:
        return shrunk(0.0)
    inside, outside = float(np.abs(d).max()), 0.0
    for _ in range(100):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if np.abs(shrunk(middle)).sum() <= eps else (inside, middle)
    return shrunk(inside)
