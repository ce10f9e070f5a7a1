"""The self-test passes here, and each of its cases fails when it is handed a wrong implementation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from advbench.preflight import machine, truth
from advbench.preflight.machine import (
    SETTINGS,
    check,
    selftest,
    standard_cases,
)

CASES = {case.name: case for case in standard_cases()}


def test_this_machine_computes_rightly():
    checks = selftest()
    assert [c.name for c in checks] == list(CASES)
    assert [(c.name, c.error, c.setting) for c in checks if not c.passed] == []


def rows_of_the_wrong_place(m, rows):  # what jax 0.10.2 does: the last row is read 32 rows too early
    out = jax.vmap(lambda row: jnp.sum((m @ row) ** 2))(rows)
    return out.at[-1].set(out[-33])


def true_convolution(x, kernel, dy):  # flips the kernel, as mathematicians do
    return wrong_convolution(x, kernel[::-1, ::-1], dy, lambda back: back)


def wrong_convolution(x, kernel, dy, spoil):
    stride = -(-x.shape[1] // dy.shape[1])
    conv = lambda x, k: lax.conv_general_dilated(  # noqa: E731
        x, k, (stride, stride), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y, back = jax.vjp(conv, x, kernel)
    return y, *spoil(back(dy))


def input_gradient_off(x, kernel, dy):
    return wrong_convolution(x, kernel, dy, lambda g: (g[0].at[0, 0, 0, 0].add(1e-3), g[1]))


def weight_gradient_off(x, kernel, dy):
    return wrong_convolution(x, kernel, dy, lambda g: (g[0], g[1].at[-1, -1, 0, 0].mul(1.01)))


def pool_that_splits_ties(x, dy):
    pool = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")  # noqa: E731
    y = pool(x)
    tied = x == y.repeat(2, 1).repeat(2, 2)
    count = lax.reduce_window(tied.astype(float), 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return y, tied * (dy / count).repeat(2, 1).repeat(2, 2)


def naive_log_softmax(z):
    log_p = lambda z: jnp.log(jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True))  # noqa: E731
    return log_p(z), jax.grad(lambda z: -log_p(z)[:, 0].sum())(z)


def reductions_in_half_precision(x):
    half = x.astype(jnp.bfloat16)
    return half.sum(0), half.sum(1), half.max(0), half.max(1), half.var(1), jax.nn.logsumexp(half, 1)


def last_of_ties(x):
    return x.shape[1] - 1 - x[:, ::-1].argmax(1), lax.top_k(x, 3)[0], jnp.argsort(-x, axis=1)


def fast_math(x):
    return jnp.exp(10 * x), jnp.log(x), jnp.sqrt(x), 4 * x - 2, jnp.arctanh(2 * x - 1)


def keys_that_ignore_the_index(seed, index):
    key = jax.random.key(seed)
    return jax.random.key_data(key), jax.random.uniform(key, (8,))


def projection_without_box(d, eps, low, high):
    return jnp.clip(d, -eps, eps)


def projection_to_twice_the_ball(project):
    return lambda d, eps, low, high: project(d, 2 * eps, low, high)


CONVOLUTIONS = [name for name in CASES if name.startswith("convolution")]
WRONG = [
    *((name, rows_of_the_wrong_place) for name in CASES if name.startswith("rows")),
    *((name, wrong) for name in CONVOLUTIONS for wrong in (true_convolution, input_gradient_off, weight_gradient_off)),
    ("matrix product", lambda a, b: (a.astype(jnp.bfloat16) @ b.astype(jnp.bfloat16)).astype(jnp.float32)),
    ("max-pool, first of ties wins", pool_that_splits_ties),
    ("log-softmax at large logits", naive_log_softmax),
    ("reductions", reductions_in_half_precision),
    ("ranking with ties", last_of_ties),
    ("elementary functions", fast_math),
    ("random numbers (threefry)", keys_that_ignore_the_index),
    ("projection, linf", projection_without_box),
    ("projection, l2", projection_to_twice_the_ball(CASES["projection, l2"].program)),
    ("projection, l1", projection_to_twice_the_ball(CASES["projection, l1"].program)),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_a_wrong_implementation_is_caught(name, wrong, monkeypatch):
    monkeypatch.setattr(machine, "SETTINGS", {"jit": SETTINGS["jit"]})  # one way is enough, and three times quicker
    assert not check(replace(CASES[name], program=wrong)).passed


def test_every_case_is_proven_able_to_fail():
    assert {name for name, _ in WRONG} == set(CASES)


@pytest.mark.parametrize("bad", SETTINGS)
def test_a_fault_in_one_way_of_compiling_is_caught_and_named(bad, monkeypatch):
    right = SETTINGS[bad]
    monkeypatch.setitem(SETTINGS, bad, lambda *a: jax.tree.map(lambda x: x + 1, right(*a)))
    found = check(CASES["matrix product"])
    assert not found.passed
    assert found.setting == bad


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_non_finite_answer_is_infinitely_wrong(value):
    found = check(replace(CASES["matrix product"], program=lambda a, b: (a @ b).at[0, 0].set(value)))
    assert not found.passed
    assert found.error == np.inf


def test_the_reference_convolution_agrees_with_finite_differences():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 5, 5, 2)), rng.standard_normal((3, 3, 2, 3))
    dy = rng.standard_normal((2, 3, 3, 3))
    _, dx, dw = truth.convolution(x, kernel, dy, stride=2, pad=1)
    along_x, along_w = rng.standard_normal(x.shape), rng.standard_normal(kernel.shape)

    def gain(t):
        there = truth.convolution(x + t * along_x, kernel + t * along_w, dy, stride=2, pad=1)[0]
        return (there * dy).sum()

    input_gradient = (gain(1e-5) - gain(-1e-5)) / 2e-5
    assert input_gradient == pytest.approx((dx * along_x).sum() + (dw * along_w).sum(), rel=1e-7)
