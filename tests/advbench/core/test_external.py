"""Models outside JAX: as good as one inside under every transformation, and honest about what goes wrong."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    APGD,
    CW,
    FAB,
    NORMS,
    PGD,
    HopSkipJump,
    Square,
    Threat,
)
from advbench.attacks.loop import loops_on_device
from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.external import External, raised
from advbench.core.spec import ThreatSpec
from advbench.evaluation import evaluate, verify
from tests.advbench.evaluation.conftest import attacks, make_data, make_model, network, verdicts

SHAPE, K, N = (5, 5, 2), 4, 12
RNG = np.random.default_rng(5)
HIDDEN = RNG.normal(size=(50, 12)).astype(np.float32)
OUT = RNG.normal(size=(12, K)).astype(np.float32)
X = jnp.asarray(RNG.random((N, *SHAPE)), jnp.float32)
TWIN = jax.tree_util.Partial(network, (jnp.asarray(HIDDEN), jnp.asarray(OUT)))
Y = TWIN(X).argmax(-1).astype(jnp.int32)
THREAT = ThreatSpec.parse("linf", "0.05")
KEYS = jax.random.split(jax.random.key(3), N)


class Net:
    """The twin in NumPy, its gradient by hand; counts its calls."""

    def __init__(self, hidden=HIDDEN, out=OUT):
        self.hidden, self.out = hidden, out
        self.forwards = self.vjps = 0

    def forward(self, x):
        assert type(x) is np.ndarray and x.dtype == np.float32
        self.forwards += 1
        return self._hidden(x) @ self.out

    def vjp(self, x):
        self.vjps += 1
        h, shape = self._hidden(x), x.shape
        return h @ self.out, lambda g: ((g @ self.out.T * (1 - h**2)) @ self.hidden.T).reshape(shape)

    def _hidden(self, x):
        return np.tanh((x.reshape(len(x), -1) - 0.5) @ self.hidden)


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def model(net):
    return External(net.forward, net.vjp)


def loss(model, x):
    return (model(x) ** 3).sum()


def looped(model, x):
    def climb(_, x):
        return x + 1e-4 * jax.grad(loss, 1)(model, x)

    return jax.lax.fori_loop(0, 5, climb, x)


def by_image(model, x):
    return jax.vmap(jax.jacrev(lambda image: model(image[None])[0]))(x)


def slopes(model, x, over=jax.vmap):
    """Of each logit; the images have no such axis, the cotangents alone have."""
    _, pull = jax.vjp(model, x)
    leads = jnp.broadcast_to(jnp.eye(K)[:, None], (K, len(x), K))
    return over(lambda lead: pull(lead)[0])(leads)


@pytest.mark.parametrize("f", [lambda m, x: m(x), jax.grad(loss, 1), looped, by_image, slopes])
@pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_is_its_jax_twin_under_every_transformation(model, f, how):
    np.testing.assert_allclose(how(f)(model, X), f(TWIN, X), rtol=1e-4, atol=1e-5)


def test_one_call_serves_a_whole_vmap_and_a_gradient_reuses_its_forward_pass(model, net):
    model.width(SHAPE)
    before = net.forwards
    np.asarray(jax.jit(jax.vmap(lambda x: model(x[None])[0]))(X))
    assert net.forwards == before + 1
    np.asarray(jax.jit(jax.grad(loss, 1))(model, X))
    assert (net.forwards, net.vjps) == (before + 1, 1)
    np.asarray(slopes(model, 1 - X, over=lambda f: partial(jax.lax.map, f)))
    assert net.vjps == 2


ATTACKS = {
    "pgd": (PGD(steps=12, rel_step_size=0.1), "linf", 0.1),
    "apgd": (APGD(steps=12), "l2", 0.5),
    "fab": (FAB(steps=6), "l2", 0.9),
    "cw": (CW(rounds=2, steps=20, lr=0.05, c=0.1), "l2", 0.9),
    "square": (Square(queries=60), "linf", 0.1),
    "hopskipjump": (HopSkipJump(steps=2, initial_num_evals=20), "l2", 0.9),
}


def run(model, name, eps=None, rows=slice(None)):
    attack, norm, default = ATTACKS[name]
    x, y = X[rows], Y[rows]
    threat = Threat(NORMS[norm], default if eps is None else eps)
    return attack(model, threat, x, attack.loss_reference(model, x, y, 0), KEYS[rows])


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_find_the_same_as_on_the_twin_at_the_same_cost(name, model):
    """So that all laws which hold there hold here."""
    outside, inside = run(model, name), run(TWIN, name)
    np.testing.assert_allclose(outside.x, inside.x, atol=1e-3)
    assert float(jnp.abs(outside.x - inside.x).mean()) < 1e-5
    np.testing.assert_array_equal(outside.forwards, inside.forwards)
    np.testing.assert_array_equal(outside.gradients, inside.gradients)


@pytest.mark.parametrize("name", ["apgd", "square"])
def test_laws_of_the_ball_and_of_independence(name, model):
    _, norm, eps = ATTACKS[name]
    whole = run(model, name)
    size = jnp.linalg.norm((whole.x - X).reshape(N, -1), ord={"linf": jnp.inf, "l2": 2}[norm], axis=1)
    assert 0.3 * eps < float(size.max()) <= eps + 1e-6 and float(whole.x.min()) >= 0 and float(whole.x.max()) <= 1
    np.testing.assert_allclose(run(model, name, eps=0.0).x, X, atol=1e-6)
    rows = np.array([5, 3, 4] + [0] * 9)
    np.testing.assert_allclose(run(model, name, rows=rows).x, whole.x[rows], atol=2e-5)


def test_is_stepped_from_the_host(model):
    assert not loops_on_device(model, X)
    assert loops_on_device(TWIN, X)


def outside(**changes):
    """The tiny model of the evaluation's tests, run by NumPy."""
    inside = make_model()
    net = Net(*(np.asarray(leaf) for leaf in inside.predict.network.args[0]))
    return replace(inside, predict=External(net.forward, net.vjp), **changes)


def test_evaluation_and_verification_say_what_they_say_of_the_twin(tmp_path):
    results = [
        evaluate(m, make_data(), range(30), attacks("pgd:steps=12,rel_step_size=0.1", "square:queries=50"), THREAT,
                 seed=0, batch_size=16, out=tmp_path / name)
        for name, m in (("out", outside()), ("in", make_model()))
    ]  # fmt: skip
    assert verdicts(results[0]) == verdicts(results[1])
    assert not verify(tmp_path / "out", model=outside(), data=make_data()).failures


def test_a_model_that_runs_out_of_memory_gets_smaller_batches():
    whole = outside()

    def small(x):
        if len(x) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole.predict.forward(x)

    model = replace(whole, predict=External(small), access="score")
    result = evaluate(model, make_data(), range(16), attacks("uniform-noise"), THREAT, seed=0, batch_size=16)
    assert [flag.name for flag in result.flags] == ["batch_halved"]


def test_what_the_model_raises_comes_out_as_itself():
    """Once it has answered well for a while: in the middle of an attack."""
    whole, left = outside(), [40]

    def failing(x):
        left[0] -= 1
        if not left[0]:
            raise DataUnavailable("the target went away")
        return whole.predict.forward(x)

    with pytest.raises(DataUnavailable, match="the target went away"):
        evaluate(replace(whole, predict=External(failing), access="score"), make_data(), range(30),
                 attacks("square:queries=100"), THREAT, seed=0, batch_size=16)  # fmt: skip


def test_an_error_of_another_program_is_not_taken_for_one_of_the_model():
    def fails(x):
        raise ValueError("mine")

    model = External(fails, classes=3)
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match="mine"):
        np.asarray(jax.jit(model)(X))
    with pytest.raises(jax.errors.JaxRuntimeError, match="another"), raised():
        raise jax.errors.JaxRuntimeError("another")
    with pytest.raises(UsageError, match="the model failed: ValueError: mine"), raised():
        np.asarray(jax.jit(model)(X))


@pytest.mark.parametrize("logits", [np.zeros(N), np.zeros((N, 2, 2)), np.zeros((1, K)), np.array([["a"]] * N)])
def test_outputs_that_are_no_logits_are_refused(logits):
    with pytest.raises(UsageError, match=r"should give logits \[12, classes\] for 12 images"):
        External(lambda x: logits, classes=K)(X)


def test_without_a_gradient_it_can_be_queried_but_not_climbed(net):
    model = External(net.forward)
    np.testing.assert_allclose(jax.jit(model)(X), TWIN(X), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="has no gradient"):
        jax.jit(jax.grad(loss, 1))(model, X)


@pytest.mark.parametrize(
    ("access", "attack", "says"),
    [
        ("score", "pgd", "pgd needs a gradient, but tiny gives scores.*choose among square, spsa, simba"),
        ("decision", "square", "square needs a score, but tiny gives the predicted class only; choose among boundary"),
    ],
)
def test_attacks_that_need_more_are_refused_before_any_compute(access, attack, says):
    def never(x):
        raise AssertionError("asked")

    model = replace(make_model(), predict=External(never), access=access)
    with pytest.raises(UsageError, match=says):
        evaluate(model, make_data(), range(5), attacks("uniform-noise", attack), THREAT, seed=0, batch_size=5)
