"""Whatever a network is in memory, it becomes a model, with a digest of what it computes."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from advbench.core.errors import UsageError
from advbench.core.preprocess import Preprocess
from advbench.models.memory import of_object

from .tiny import weights

SHAPE = (5, 6, 3)
X = np.random.default_rng(2).random((3, *SHAPE), np.float32)
W = weights(SHAPE, 3)
LOGITS = X.reshape(3, -1) @ W


def apply(params, x):
    return x.reshape(len(x), -1) @ params


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3, use_bias=False)(x.reshape(len(x), -1))


class Net(nnx.Module):
    def __init__(self, kernel):
        self.kernel = nnx.Param(jnp.asarray(kernel))

    def __call__(self, x):
        return x.reshape(len(x), -1) @ self.kernel[...]


class Callable:
    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, x):
        return x.reshape(len(x), -1) @ self.kernel


def variables(kernel):
    return {"params": {"Dense_0": {"kernel": jnp.asarray(kernel)}}}


KINDS = {
    "function": lambda w: lambda x: x.reshape(len(x), -1) @ w,
    "jitted": lambda w: jax.jit(lambda x: x.reshape(len(x), -1) @ w),
    "partial": lambda w: functools.partial(apply, w),
    "pytree": lambda w: jax.tree_util.Partial(apply, w),
    "apply with params": lambda w: (apply, w),
    "vmapped": lambda w: jax.vmap(lambda x: x.reshape(-1) @ w),
    "object": Callable,
    "Linen, bound": lambda w: Dense().bind(variables(w)),
    "Linen with variables": lambda w: (Dense(), variables(w)),
    "NNX": Net,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_computes_and_is_told_apart(kind):
    made = KINDS[kind]
    model = of_object(made(W))
    np.testing.assert_allclose(model.predict(jnp.asarray(X)), LOGITS, rtol=1e-4, atol=1e-4)
    assert of_object(made(W.copy())).digest == model.digest != of_object(made(W + 1)).digest
    assert model.name and model.source == "memory"


def test_the_code_counts_too():
    def once(x):
        return x.mean((1, 2))

    def twice(x):
        return 2 * x.mean((1, 2))

    assert of_object(once).digest != of_object(twice).digest


def test_a_digest_is_the_same_in_another_process():
    code = "from tests.advbench.api.test_models import *; print([of_object(make(W)).digest for make in KINDS.values()])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"{[of_object(make(W)).digest for make in KINDS.values()]}\n"


def test_what_a_network_wants_of_pixels_is_put_in_front():
    def channels_first(x):
        assert x.shape[1:] == (3, 5, 6)
        return x.mean((2, 3))

    model = of_object(channels_first, Preprocess("nchw", (0.5,), (0.25,)))
    np.testing.assert_allclose(model.predict(jnp.asarray(X)), (X.mean((1, 2)) - 0.5) / 0.25, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Dense(), "is a Flax Linen module without its variables: give .net, variables."),
        (7, "the model given is int, which is not a model"),
        ((), "is not a model"),
    ],
)
def test_what_is_no_model_is_told_in_one_line(made, message):
    with pytest.raises(UsageError, match=message):
        of_object(made)
