"""Bounds must be sound always, exact where a closed form says so, and tighter where theory says so."""

from functools import cache, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.attacks import NORMS, PGD, Threat
from advbench.bounds import Unsupported, margins, read
from advbench.bounds.interval import Interval, propagate
from advbench.nn.frozen import freeze
from advbench.nn.layers import Conv, Normalize
from advbench.nn.pooling import max_pool

SHAPE, CLASSES = (6, 6, 1), 4
METHODS = ("ibp", "crown-ibp", "crown")
EPS = {"linf": 0.05, "l2": 0.4, "l1": 1.0, "l0": 2.0}


def weights(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0]), jnp.float32)


def linear(w, x):
    return x.reshape(len(x), -1) @ w


def perceptron(w, x):
    return jax.nn.relu(linear(w[0], (x - 0.3) / 0.7)) @ w[1] + w[2]


class Pooled(nnx.Module):
    """Both kinds of convolution, normalisation, pooling."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.normalize = Normalize((0.4,), (0.5,))
        self.first = Conv(1, 8, 3, rngs=rngs, bias=nnx.initializers.normal(0.1))
        self.second = Conv(8, 4, 3, stride=2, padding=((1, 1), (1, 1)), rngs=rngs)
        self.last = nnx.Linear(4, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.end(self.first.relu(self.normalize(x), pool=True))

    def end(self, x):
        return self.last(nnx.relu(self.second(x)).mean((1, 2)))


class Overlapping(Pooled):
    """Windows that overlap, and a residual path around them."""

    def __call__(self, x):
        x = nnx.relu(self.first(self.normalize(x)))
        return self.end(nnx.max_pool(x, (2, 2), (1, 1), "SAME") - 0.5 * x)


def peaks(w, x):
    return linear(w[0], x).reshape(len(x), 4, 3).max(1) @ w[1]


def stable(w, x):
    return jax.nn.relu(linear(w[0], x) + 20) @ w[1]


def smooth(w, x):
    return jnp.clip(jnp.tanh(linear(w[0], x)), -0.5, 0.8) @ w[1] + jax.nn.sigmoid(linear(w[0], x)) @ w[1]


def wheres(w, x):
    h = linear(w[0], x)
    return jnp.stack([jnp.where(h > 0, h, 0), jnp.where(h < 0.1, h, 0.1)], 1).sum(1) @ w[1]


def kinks(w, x):
    """Functions of one number that are made of pieces, one for each few of the hidden values."""
    h = linear(w[0], x)
    return (
        jnp.concatenate([f(h[:, at : at + 2]) for at, f in zip(range(0, 40, 2), PIECES.values(), strict=False)], 1)
        @ w[1]
    )


def valleys(w, x):
    low = jax.lax.reduce_window(x, jnp.inf, jax.lax.min, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    return linear(w[0], low) @ w[1] - linear(w[1], linear(w[2], x).reshape(len(x), 5, 3).min(1)) + x.max((1, 2))


SLOPES = jnp.asarray([0.3, 1.5], jnp.float32)
PIECES = {
    "leaky_relu": jax.nn.leaky_relu,
    "steeper below": lambda h: jnp.where(h > 0, h, 2 * h),
    "falling below": lambda h: jnp.where(h >= 0, h, -0.3 * h),
    "prelu": lambda h: jnp.where(h > 0, h, jnp.asarray([0.3, 0.6]) * h),
    "hard_tanh": jax.nn.hard_tanh,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "clamp": lambda h: jax.lax.clamp(-0.5, h, 0.7),
    "clip": lambda h: jnp.clip(h, -0.5, 0.7),
    "cut above, then below": lambda h: jnp.where(h < -0.5, -0.5, jnp.where(h > 0.7, 0.7, h)),
    "abs": jnp.abs,
    "abs of a choice": lambda h: jnp.where(h < 0, -h, h),
    "a peak": lambda h: jnp.where(h > 0.2, 0.4 - h, h),
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "relu of a constant": lambda h: jnp.where(h > 0.5, h, 0.5),
    "not below": lambda h: jnp.where(~(h < 0), h, 0.1 * h),
    "stop_gradient": jax.lax.stop_gradient,
    "mixed prelu": lambda h: jnp.where(h > 0, h, SLOPES * h),
}


MODELS = {
    "linear": partial(linear, weights(36, CLASSES)),
    "perceptron": partial(perceptron, (weights(36, 10), weights(10, CLASSES, seed=1), weights(CLASSES, seed=2))),
    "pooled": freeze(Pooled()),
    "overlapping": freeze(Overlapping()),
    "peaks": partial(peaks, (weights(36, 12), weights(3, CLASSES, seed=1))),
    "stable": partial(stable, (weights(36, 8), weights(8, CLASSES, seed=1))),
    "smooth": partial(smooth, (weights(36, 10), weights(10, CLASSES, seed=1))),
    "kinks": partial(kinks, (weights(36, 40), weights(2 * len(PIECES), CLASSES, seed=1))),
    "valleys": partial(valleys, (weights(9, 3), weights(3, CLASSES, seed=1), weights(36, 15, seed=2))),
    "wheres": partial(wheres, (weights(36, 10), weights(10, CLASSES, seed=1))),
}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.uniform(size=(5, *SHAPE)), jnp.float32), jnp.asarray(rng.integers(0, CLASSES, 5))


CHEAP = {"xla_backend_optimization_level": 0}
"""Large programs that compute next to nothing: optimising them takes most of the time."""


@cache
def program(name, norm):
    """All methods at once, compiled once for every eps."""
    graph = read(MODELS[name], SHAPE)

    def of_image(eps, x, y):
        return [margins(graph, Threat(NORMS[norm], eps), x, y, method) for method in METHODS]

    return jax.jit(jax.vmap(of_image, (None, 0, 0)), compiler_options=CHEAP)


def bounds(name, norm, eps, batch):
    """Lower bounds of all margins, by method."""
    return dict(zip(METHODS, map(np.asarray, program(name, norm)(eps, *batch)), strict=True))


def true(name, x, y):
    logits = np.asarray(MODELS[name](x))
    return logits[np.arange(len(y)), y][:, None] - logits


CASES = [*((name, "linf") for name in MODELS), *(("perceptron", norm) for norm in ("l2", "l1", "l0")), ("smooth", "l2")]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_no_image_of_the_ball_leaves_the_bounds(name, norm, batch):
    x, y = batch
    threat = Threat(NORMS[norm], EPS[norm])
    found = bounds(name, norm, EPS[norm], batch)
    keys = jax.random.split(jax.random.key(0), (60, len(x)))
    points = np.asarray(jax.jit(jax.vmap(jax.vmap(threat.start), (0, None)))(keys, x))
    if norm == "linf":
        signs = np.random.default_rng(4).choice([-1, 1], (60, *x.shape)).astype(np.float32)
        points = np.concatenate([points, np.clip(x + EPS[norm] * signs, 0, 1)])
    if name == "perceptron" and norm != "l0":
        attack = PGD(steps=15, rel_step_size=0.2, loss="margin", keep=False)
        points = np.concatenate([points, attack(jax.tree_util.Partial(MODELS[name]), threat, x, y, keys[0]).x[None]])
    logits = np.asarray(MODELS[name](points.reshape(-1, *SHAPE))).reshape(*points.shape[:2], -1)
    truth = (np.take_along_axis(logits, np.broadcast_to(np.asarray(y)[:, None], (*logits.shape[:2], 1)), -1)) - logits
    for lower in found.values():
        assert (truth >= lower - 1e-4).all()


@pytest.mark.parametrize("name", MODELS)
def test_without_a_budget_bounds_are_the_margins_themselves(name, batch):
    for lower in bounds(name, "linf", 0.0, batch).values():
        np.testing.assert_allclose(lower, true(name, *batch), atol=1e-4)


def test_bounds_of_a_linear_model_are_the_closed_form(batch):
    """In the middle of the box: margin minus eps times the dual norm of the difference of weights."""
    x, y = jnp.full((5, *SHAPE), 0.5), batch[1]
    w = np.asarray(MODELS["linear"].args[0])
    apart = np.abs(w.T[np.asarray(y)][:, None] - w.T[None])  # [B, K, 36]
    lost = {
        "linf": 0.1 * apart.sum(-1),
        "l2": 0.4 * np.sqrt((apart**2).sum(-1)),
        "l1": 0.4 * apart.max(-1),
        "l0": 0.5 * np.sort(apart, -1)[..., -2:].sum(-1),  # two pixels go to 0 or 1
    }
    for norm, eps in {"linf": 0.1, "l2": 0.4, "l1": 0.4, "l0": 2.0}.items():
        for lower in bounds("linear", norm, eps, (x, y)).values():
            np.testing.assert_allclose(lower, true("linear", x, y) - lost[norm], atol=1e-5)


def test_a_larger_ball_never_gives_a_higher_interval_bound(batch):
    """Linear bounds choose their slopes anew at every eps; over many images they fall too."""
    found = [bounds("pooled", "linf", eps, batch) for eps in (0.0, 0.02, 0.05, 0.2)]
    for small, large in pairwise(found):
        assert (small["ibp"] >= large["ibp"] - 1e-5).all()
        assert all(small[method].mean() > large[method].mean() for method in METHODS)


def test_linear_bounds_of_each_neuron_tighten_those_of_intervals(batch):
    """The mean over images: for a single one, the choice of slopes may lose."""
    means = {method: lower.mean() for method, lower in bounds("pooled", "linf", 0.03, batch).items()}
    assert means["ibp"] < means["crown-ibp"] <= means["crown"] + 1e-6


def test_a_stable_network_is_linear_and_its_linear_bounds_are_exact():
    """Where no ReLU changes sign in the ball, the least margin is a closed form that intervals miss."""
    w, v = weights(36, 8), weights(8, CLASSES, seed=1)
    x, y = jnp.full((1, *SHAPE), 0.5), jnp.asarray([2])
    apart = np.asarray(w @ (v[:, y] - v)).T
    exact = true("stable", x, y) - 0.1 * np.abs(apart).sum(-1)
    found = bounds("stable", "linf", 0.1, (x, y))
    for method in ("crown-ibp", "crown"):
        np.testing.assert_allclose(found[method], exact, atol=1e-4)
    assert (found["ibp"] < exact - 0.01)[0, [0, 1, 3]].all()


@pytest.mark.parametrize("name", [name for name in PIECES if not name.startswith("mixed")])
def test_intervals_of_a_function_of_one_number_are_its_range(name):
    """Against a fine grid; at and around every kink."""
    ends = np.array(
        [[-1.0, -0.6], [-0.9, 0.1], [-0.4, 0.3], [0.0, 0.4], [-0.3, 0.0], [0.3, 1.2], [-2, 2.0], [0.1, 0.1]]
    )
    graph = read(lambda x: PIECES[name](x.reshape(-1, 2)).reshape(1, -1), (8, 2, 1))
    low, high = (jnp.asarray(np.repeat(end, 2).reshape(1, 8, 2, 1), jnp.float32) for end in ends.T)
    found = propagate(graph, Interval(low, high))[-1]
    values = np.asarray(PIECES[name](jnp.asarray(np.repeat(np.linspace(*ends.T, 4001), 2, 1).reshape(-1, 2))))
    values = values.reshape(4001, 16)
    np.testing.assert_allclose(found.low[0], values.min(0), atol=2e-3)
    np.testing.assert_allclose(found.high[0], values.max(0), atol=2e-3)
    assert (found.low[0] <= values.min(0) + 1e-6).all()
    assert (found.high[0] >= values.max(0) - 1e-6).all()


def test_a_choice_that_jumps_or_does_not_rise_is_no_piece():
    for jump in (
        lambda h: jnp.where(h > 0, h, h + 1),
        lambda h: jnp.where(h > 0.1, h, 2 * h),
        lambda h: jnp.where(h > 0, 0, jnp.tanh(-h)),
        lambda h: jnp.where(h > 0, h, jnp.expm1(h)),  # right, but its overflowing half is not how ELU is written
    ):
        with pytest.raises(Unsupported, match="select_n"):
            read(lambda x, jump=jump: jump(x.reshape(1, -1)), SHAPE)


def test_the_largest_of_a_whole_image_is_a_few_nodes():
    """Only as many as its number of pixels has binary digits: linear bounds of all would compile for minutes."""
    graph = read(lambda x: jnp.maximum(x.max((1, 2)), x.mean((1, 2))), (64, 64, 3))
    found = [at for at, node in enumerate(graph.nodes) if node.name == "max"]
    assert len(found) == 12 + 1
    assert graph.refined(boxed=False) == (found[0], found[-1])
    assert graph.refined(boxed=True) == (found[-1],)


def test_every_operation_without_bounds_is_named():
    def strange(x):
        rows = x.reshape(len(x), -1)
        return jnp.sin(linear(weights(36, CLASSES), x)) + jnp.sort(rows)[:, :CLASSES] + (rows * rows)[:, :CLASSES]

    with pytest.raises(Unsupported, match="mul, sin, sort"):
        read(strange, SHAPE)
    with pytest.raises(Unsupported, match="convert_element_type"):
        read(lambda x: linear(weights(36, CLASSES).astype(jnp.bfloat16), x.astype(jnp.bfloat16)), SHAPE)
    with pytest.raises(Unsupported, match="do not depend"):
        read(lambda x: jnp.zeros((len(x), CLASSES)), SHAPE)


def test_a_pooled_maximum_is_seen_as_one_and_native_kernels_are_not_met():
    jax.block_until_ready(MODELS["pooled"](jnp.zeros((2, *SHAPE))))  # traced with kernels first
    for name, count in {"pooled": 1 + 3 + 1, "overlapping": 1 + 2 + 1, "peaks": 2}.items():
        assert [node.name for node in read(MODELS[name], SHAPE).nodes].count("max") == count
    assert [n.name for n in read(lambda x: max_pool(x).reshape(1, -1), SHAPE).nodes].count("max") == 3
