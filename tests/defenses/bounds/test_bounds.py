"""Bounds must be sound always, exact where a closed form says so, and tighter where theory says so."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.attacks import NORMS, PGD, Threat
from advbench.defenses.bounds import Unsupported, margins, read
from advbench.defenses.frozen import freeze
from advbench.models.layers import Conv, Normalize
from advbench.models.ops import max_pool

SHAPE, CLASSES = (6, 6, 1), 4
METHODS = ("ibp", "crown-ibp", "crown")
EPS = {"linf": 0.05, "l2": 0.4, "l1": 1.0, "l0": 2.0, "any": 1.0}


def weights(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0]), jnp.float32)


def linear(w, x):
    return x.reshape(len(x), -1) @ w


def perceptron(w, x):
    return jax.nn.relu(linear(w[0], (x - 0.3) / 0.7)) @ w[1] + w[2]


class Pooled(nnx.Module):
    """Both kinds of convolution, normalisation, both ways to pool, a residual path."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.normalize = Normalize((0.4,), (0.5,))
        self.first = Conv(1, 8, 3, rngs=rngs, bias=nnx.initializers.normal(0.1))
        self.second = Conv(8, 4, 3, stride=2, padding=((1, 1), (1, 1)), rngs=rngs)
        self.last = nnx.Linear(4, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = self.first.relu(self.normalize(x), pool=True)
        x = nnx.max_pool(x, (2, 2), (1, 1), "SAME") - 0.5 * x
        return self.last(nnx.relu(self.second(x)).max((1, 2)))


def smooth(w, x):
    return jnp.clip(jnp.tanh(linear(w[0], x)), -0.5, 0.8) @ w[1] + jax.nn.sigmoid(linear(w[0], x)) @ w[1]


def wheres(w, x):
    h = linear(w[0], x)
    return jnp.where(h > 0, h, 0) @ w[1] + jnp.where(h < 0.1, h, 0.1) @ w[1]


MODELS = {
    "linear": partial(linear, weights(36, CLASSES)),
    "perceptron": partial(perceptron, (weights(36, 10), weights(10, CLASSES, seed=1), weights(CLASSES, seed=2))),
    "pooled": freeze(Pooled()),
    "smooth": partial(smooth, (weights(36, 10), weights(10, CLASSES, seed=1))),
    "wheres": partial(wheres, (weights(36, 10), weights(10, CLASSES, seed=1))),
}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.uniform(size=(5, *SHAPE)), jnp.float32), jnp.asarray(rng.integers(0, CLASSES, 5))


def bound(name, threat, batch, method):
    graph = read(MODELS[name], SHAPE)
    return np.asarray(jax.jit(jax.vmap(lambda x, y: margins(graph, threat, x, y, method)))(*batch))


def true(name, x, y):
    logits = np.asarray(MODELS[name](x))
    return logits[np.arange(len(y)), y][:, None] - logits


CASES = [*((name, "linf") for name in MODELS), *(("perceptron", norm) for norm in ("l2", "l1", "l0")), ("pooled", "l2")]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_no_image_of_the_ball_leaves_the_bounds(name, norm, batch):
    x, y = batch
    threat = Threat(NORMS[norm], EPS[norm])
    found = {method: bound(name, threat, batch, method) for method in METHODS}
    keys = jax.random.split(jax.random.key(0), 40 * len(x)).reshape(40, len(x))
    points = [jax.vmap(threat.start)(k, x) for k in keys]
    if norm != "l0":
        attack = PGD(steps=15, rel_step_size=0.2, loss="margin", keep=False)
        points.append(attack(jax.tree_util.Partial(MODELS[name]), threat, x, y, keys[0]).x)
    for point in points:
        for lower in found.values():
            assert (true(name, point, y) >= lower - 1e-4).all()


@pytest.mark.parametrize("name", MODELS)
def test_without_a_budget_bounds_are_the_margins_themselves(name, batch):
    for method in METHODS:
        np.testing.assert_allclose(
            bound(name, Threat(NORMS["linf"], 0.0), batch, method), true(name, *batch), atol=1e-4
        )


@pytest.mark.parametrize("method", METHODS)
def test_bounds_of_a_linear_model_are_the_closed_form(method, batch):
    """In the middle of the box: margin minus eps times the dual norm of the difference of weights."""
    x, y = jnp.full((5, *SHAPE), 0.5), batch[1]
    w = np.asarray(MODELS["linear"].args[0])
    apart = w.T[np.asarray(y)][:, None] - w.T[None]  # [B, K, 36]
    ahead = true("linear", x, y)
    dual = {"linf": np.abs(apart).sum(-1), "l2": np.sqrt((apart**2).sum(-1)), "l1": np.abs(apart).max(-1)}
    for norm, size in dual.items():
        eps = {"linf": 0.1, "l2": 0.4, "l1": 0.5}[norm]
        np.testing.assert_allclose(
            bound("linear", Threat(NORMS[norm], eps), (x, y), method), ahead - eps * size, atol=1e-5
        )
    furthest = 0.5 * np.sort(np.abs(apart), -1)[..., -2:].sum(-1)  # two pixels go to 0 or 1
    np.testing.assert_allclose(bound("linear", Threat(NORMS["l0"], 2.0), (x, y), method), ahead - furthest, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["perceptron", "pooled"])
def test_a_larger_ball_never_gives_a_higher_interval_bound(name, method, batch):
    found = [bound(name, Threat(NORMS["linf"], eps), batch, method) for eps in (0.0, 0.02, 0.05, 0.2)]
    if method == "ibp":  # linear bounds choose their slopes anew at every eps
        assert all((a >= b - 1e-5).all() for a, b in pairwise(found))
    assert (found[0] >= found[-1] - 1e-5).all() and (found[0] - found[-1]).max() > 0.1


def test_linear_bounds_of_each_neuron_tighten_those_of_intervals(batch):
    """The mean over images: for a single one, the choice of slopes may lose."""
    means = {m: bound("pooled", Threat(NORMS["linf"], 0.03), batch, m).mean() for m in METHODS}
    assert means["ibp"] < means["crown-ibp"] <= means["crown"] + 1e-6


def test_a_stable_network_is_linear_and_its_linear_bounds_are_exact():
    """Where no ReLU changes sign in the ball, the least margin is a closed form that intervals miss."""
    w, v = weights(36, 8), weights(8, CLASSES, seed=1)

    def model(x):
        return jax.nn.relu(linear(w, x) + 20) @ v

    x, y = jnp.full(SHAPE, 0.5), 2
    graph, threat = read(model, SHAPE), Threat(NORMS["linf"], 0.1)
    apart = np.asarray(w @ (v[:, y][:, None] - v)).T
    ahead = np.asarray(model(x[None])[0, y] - model(x[None])[0])
    exact = ahead - 0.1 * np.abs(apart).sum(-1)
    for method in ("crown-ibp", "crown"):
        np.testing.assert_allclose(margins(graph, threat, x, y, method), exact, atol=1e-4)
    assert (np.asarray(margins(graph, threat, x, y, "ibp")) < exact - 0.01)[[0, 1, 3]].all()


def test_every_operation_without_bounds_is_named():
    def strange(x):
        return jnp.sin(linear(weights(36, CLASSES), x)) + jnp.sort(x.reshape(1, -1))[:, :CLASSES] * x[:, 0, :CLASSES, 0]

    with pytest.raises(Unsupported, match="mul, sin, sort"):
        read(strange, SHAPE)
    with pytest.raises(Unsupported, match="convert_element_type"):
        read(lambda x: linear(weights(36, CLASSES).astype(jnp.bfloat16), x.astype(jnp.bfloat16)), SHAPE)
    with pytest.raises(Unsupported, match="do not depend"):
        read(lambda x: jnp.zeros((len(x), CLASSES)), SHAPE)


def test_a_pooled_maximum_is_seen_as_one_and_native_kernels_are_not_met():
    jax.block_until_ready(MODELS["pooled"](jnp.zeros((2, *SHAPE))))  # traced with kernels first
    names = [node.name for node in read(MODELS["pooled"], SHAPE).nodes]
    assert names.count("max") == 1 + 3 + 3 + 1 + 3
    assert [n.name for n in read(lambda x: max_pool(x).reshape(1, -1), SHAPE).nodes].count("max") == 3
