"""Self-test of the machine: check that the installed jax computes correctly.

Compilers have bugs: jax 0.10.2 on CPU gives wrong rows for `jit(vmap(lambda row: sum((M @ row) ** 2)))` near n = 32,769
(jax-ml/jax#39103). So each operation that robustness numbers depend on is compiled in the three ways in which attacks
use it (alone, under `vmap`, inside a loop) and compared with NumPy in float64.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from advbench.attacks import NORMS
from advbench.core.ambient import own_settings
from advbench.nn.ops import conv2d
from advbench.nn.pooling import max_pool
from advbench.preflight import truth

COPIES = 3  # independent sets of inputs for each case
EXACT, CLOSE = 0.0, 1e-5
TF32 = 5e-3  # accelerators multiply with ten bits of mantissa by default

Inputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Case:
    """An operation as a JAX program, and the same in NumPy.

    Attributes
    ----------
    name : str
        Name of the operation, for the report.
    program, truth : callable
        The operation in JAX and in NumPy; `truth` gets floating-point inputs as float64.
    inputs : callable
        Draws random inputs from a NumPy generator.
    tolerance : float
        Largest allowed |got - true| / (1 + |true|) over all output elements.
    """

    name: str
    program: Callable[..., Any]
    truth: Callable[..., Any]
    inputs: Callable[[np.random.Generator], Inputs]
    tolerance: float


@dataclass(frozen=True)
class Check:
    """Outcome of a case.

    Attributes
    ----------
    name : str
        Name of the operation.
    passed : bool
        Whether `error` is at most `tolerance`.
    error, tolerance : float
        Largest |got - true| / (1 + |true|) found, and the largest allowed.
    setting : str
        Way of compiling with the largest error: `jit`, `vmap` or `loop`.
    """

    name: str
    passed: bool
    error: float
    tolerance: float
    setting: str


def selftest(cases: Iterable[Case] | None = None, seed: int = 0) -> list[Check]:
    """Run every case; takes a few seconds, nearly all of it compilation.

    Parameters
    ----------
    cases : iterable of Case, optional
        Operations to test; `standard_cases()` by default.
    seed : int
        Seed of the random inputs.

    Returns
    -------
    list of Check
        The outcome of each case.
    """
    with ThreadPoolExecutor(2) as pool:  # XLA compiles without holding Python's lock
        return list(pool.map(partial(check, seed=seed), standard_cases() if cases is None else cases))


@own_settings()
def check(case: Case, seed: int = 0) -> Check:
    """Compile a case in each of `SETTINGS` and compare it with NumPy; return the outcome with the largest error."""
    rng = np.random.default_rng(seed)
    copies = [case.inputs(rng) for _ in range(COPIES)]
    true = [case.truth(*(a.astype(float) if a.dtype.kind == "f" else a for a in copy)) for copy in copies]
    stacked = [np.stack(arrays) for arrays in zip(*copies, strict=True)]
    errors = {name: _error(run(case.program, stacked), true) for name, run in SETTINGS.items()}
    worst = max(errors, key=errors.__getitem__)
    return Check(case.name, errors[worst] <= case.tolerance, errors[worst], case.tolerance, worst)


def _error(got: list[Any], true: list[Any]) -> float:
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(true), strict=True)
    return max(_distance(np.asarray(a, float), np.asarray(b, float)) for a, b in pairs)


def _distance(got: NDArray[Any], true: NDArray[Any]) -> float:
    if got.shape != true.shape or not np.isfinite(got).all():
        return float("inf")
    return float((np.abs(got - true) / (1 + np.abs(true))).max())


def _alone(program: Callable[..., Any], stacked: list[Any]) -> list[Any]:
    compiled = jax.jit(program)
    return [compiled(*(a[i] for a in stacked)) for i in range(COPIES)]


def _vmapped(program: Callable[..., Any], stacked: list[Any]) -> list[Any]:
    out = jax.jit(jax.vmap(program))(*stacked)
    return [jax.tree.map(lambda a, i=i: a[i], out) for i in range(COPIES)]


def _looped(program: Callable[..., Any], stacked: list[Any]) -> list[Any]:
    out = jax.jit(lambda *arrays: lax.map(lambda one: program(*one), arrays))(*stacked)
    return [jax.tree.map(lambda a, i=i: a[i], out) for i in range(COPIES)]


SETTINGS: dict[str, Callable[[Callable[..., Any], list[Any]], list[Any]]] = {
    "jit": _alone,
    "vmap": _vmapped,
    "loop": _looped,
}


def standard_cases() -> list[Case]:
    """Return the operations that attacks, models and random keys consist of."""
    product = CLOSE if jax.default_backend() == "cpu" else TF32
    return [
        *(Case(f"rows of (M @ row)^2, n = {n:,}", _squared_rows, truth.squared_rows, partial(_rows, n), product)
          for n in (32_768, 32_769, 40_000)),
        *(Case(f"convolution and gradients, {who}, stride {s}", partial(_with_gradients, conv, s),
               partial(truth.convolution, stride=s, pad=1), partial(_images, s), product)
          for s in (1, 2) for who, conv in (("jax.lax", _lax_conv), ("advbench", _our_conv))),
        Case("matrix product", jnp.matmul, np.matmul, _matrices, product),
        Case("max-pool, first of ties wins", _pool, truth.max_pool, _tied_images, EXACT),
        Case("log-softmax at large logits", _log_softmax, truth.log_softmax, _large_logits, CLOSE),
        Case("reductions", _reductions, truth.reductions, lambda rng: (_normal(rng, 257, 1025) / 8,), CLOSE),
        Case("ranking with ties", _ranking, truth.ranking, lambda rng: (_whole(rng, 64, 10),), EXACT),
        Case("elementary functions", _elementary, truth.elementary, _unit_interval, CLOSE),
        Case("random numbers (threefry)", _random, truth.random, _seeds, EXACT),
        *(Case(f"projection, {name}", NORMS[name].project, getattr(truth, f"project_{name}"), _perturbation, CLOSE)
          for name in ("linf", "l2", "l1")),
    ]  # fmt: skip


def _squared_rows(m: jax.Array, rows: jax.Array) -> jax.Array:
    return jax.vmap(lambda row: jnp.sum((m @ row) ** 2))(rows)


def _lax_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _our_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return conv2d(x, kernel, stride=stride, padding=((1, 1), (1, 1)))


def _with_gradients(conv: Callable[..., jax.Array], stride: int, x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Any:
    y, back = jax.vjp(lambda x, kernel: conv(x, kernel, stride), x, kernel)
    return y, *back(dy)


def _pool(x: jax.Array, dy: jax.Array) -> Any:
    y, back = jax.vjp(max_pool, x)
    return y, *back(dy)


def _log_softmax(logits: jax.Array) -> Any:
    return jax.nn.log_softmax(logits), jax.grad(lambda z: -jax.nn.log_softmax(z)[:, 0].sum())(logits)


def _reductions(x: jax.Array) -> Any:
    log_sum = jax.nn.logsumexp(x, 1)
    return x.sum(0), x.sum(1), x.max(0), x.max(1), x.var(1), log_sum


def _ranking(x: jax.Array) -> Any:
    return x.argmax(1), lax.top_k(x, 3)[0], jnp.argsort(-x, axis=1)


def _elementary(x: jax.Array) -> Any:
    return jnp.exp(10 * x), jnp.log(x), jnp.sqrt(x), jnp.tanh(4 * x - 2), jnp.arctanh(2 * x - 1)


def _random(seed: jax.Array, index: jax.Array) -> Any:
    key = jax.random.fold_in(jax.random.key(seed), index)
    return jax.random.key_data(key), jax.random.uniform(key, (8,))


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[Any]:
    return rng.standard_normal(shape).astype(np.float32)


def _whole(rng: np.random.Generator, *shape: int) -> NDArray[Any]:
    return rng.integers(0, 3, shape).astype(np.float32)


def _rows(n: int, rng: np.random.Generator) -> Inputs:
    return _normal(rng, 3, 3), _normal(rng, n, 3)


def _images(stride: int, rng: np.random.Generator) -> Inputs:
    side = (13 - 1) // stride + 1
    return _normal(rng, 4, 13, 13, 6), _normal(rng, 3, 3, 6, 8) / 8, _normal(rng, 4, side, side, 8) / 8


def _matrices(rng: np.random.Generator) -> Inputs:
    return _normal(rng, 129, 785), _normal(rng, 785, 65) / 28


def _tied_images(rng: np.random.Generator) -> Inputs:
    return _whole(rng, 4, 8, 8, 3), _normal(rng, 4, 4, 4, 3)


def _large_logits(rng: np.random.Generator) -> Inputs:
    scale = np.logspace(-1, 5, 13, dtype=np.float32)[:, None]
    return (scale * _normal(rng, 13, 10),)


def _unit_interval(rng: np.random.Generator) -> Inputs:
    return (rng.uniform(1e-3, 1 - 1e-3, 4097).astype(np.float32),)


def _seeds(rng: np.random.Generator) -> Inputs:
    return tuple(rng.integers(0, 2**32, 2, dtype=np.uint32))


def _perturbation(rng: np.random.Generator) -> Inputs:
    clean = rng.uniform(0, 1, (9, 9, 3)).astype(np.float32)
    return _normal(rng, 9, 9, 3), np.float32(rng.uniform(0.1, 3)), -clean, 1 - clean  # type: ignore[return-value]
