"""No number depends on settings of JAX that someone else chose, nor on the precision of a model's logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench import load_model
from advbench.attacks import (
    FAB,
    NORMS,
    Randomised,
    Threat,
)
from advbench.certification import certify
from advbench.core.ambient import own_settings
from advbench.core.outputs import expecting
from advbench.core.spec import ThreatSpec
from advbench.defenses import PGDTraining
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import fit
from advbench.evaluation import evaluate, verify
from advbench.preflight import examine, selftest
from advbench.preflight.machine import standard_cases

from .conftest import CLASSES, N, attacks, make_model, network, timeless, verdicts

SETTINGS = {
    "as they are": own_settings,
    "64 bits": lambda: jax.enable_x64(True),
    "strict types": lambda: jax.numpy_dtype_promotion("strict"),
    "strict ranks": lambda: jax.numpy_rank_promotion("raise"),
    "no infinities": lambda: jax.debug_infs(True),
    "no NaN": lambda: jax.debug_nans(True),
    "other random numbers": lambda: jax.default_prng_impl("rbg"),
    "no transfers": lambda: jax.transfer_guard("disallow"),
}
L2 = ThreatSpec.parse("l2", "0.1")
RIGHT = range(5, 17)  # the first five labels are wrong
CASCADE = ("fgsm", "apgd:steps=3", "apgd:loss=dlr,steps=3", "fab:steps=3", "deepfool:steps=3", "cw:rounds=1,steps=3")
BY_SCORES = ("square:queries=5",)
CASES = ("random numbers (threefry)", "elementary functions")


@pytest.fixture(params=SETTINGS)
def settings(request):
    with SETTINGS[request.param]():
        yield request.param


class Tiny(nnx.Module):
    """A network that `advbench train` could have made."""

    def __init__(self):
        self.layer = nnx.Linear(25, CLASSES, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return nnx.relu(self.layer(x.reshape(len(x), -1)))


_found: dict[str, object] = {}


def same_as_before(name, found):
    """The first setting says what is right; all that follow must say the same, to the last bit."""
    assert _found.setdefault(name, found) == found


def test_attacks_find_the_same(settings, model, data, tmp_path):
    specs = attacks(*CASCADE, *BY_SCORES, threat=L2)
    result = evaluate(model, data, RIGHT, specs, L2, seed=0, batch_size=12, each=True, out=tmp_path / "run")
    assert not result.provenance.x64
    assert 0 < result.robust.correct < result.clean.correct
    same_as_before("result", timeless(result))
    assert verify(tmp_path / "run", model=model, data=data).failures == []


def test_the_doctor_says_the_same(settings, model, data):
    checks = selftest([case for case in standard_cases() if case.name in CASES])
    assert [(check.passed, check.error < 1e-5) for check in checks] == [(True, True)] * len(CASES)
    x = data.images / np.float32(255)
    same_as_before("flags", [flag.model_dump() for flag in examine(model, x, data.labels, classes=CLASSES)])


def test_a_proof_is_the_same(settings, data, model):
    found = certify(model, data, RIGHT, ThreatSpec.parse("linf", "0.001"), "crown")
    assert found.certified.correct > 0
    same_as_before("proof", [row.model_dump() for row in found.rows])


def test_training_ends_the_same(settings, data):
    with own_settings():
        module = Tiny()
    recipe = Recipe(epochs=1, batch_size=16, validation=16, lr=0.01)
    fitted = fit(
        module, PGDTraining(steps=2, rel_step_size=0.6), Threat(NORMS["linf"], 0.05), data.images, data.labels, recipe
    )
    same_as_before("training", [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(nnx.state(fitted.module))])


def test_an_attack_called_by_itself_proposes_the_same(settings, model, data):
    with own_settings():
        x, y, keys = (
            data.images[:4] / np.float32(255),
            jnp.asarray(data.labels[:4]),
            jax.random.split(jax.random.key(0), 4),
        )
        x, threat = jnp.asarray(x), Threat(NORMS["l2"], 0.3)
    proposal = FAB(steps=3)(model.predict, threat, x, y, keys)
    assert proposal.x.dtype == jnp.float32
    same_as_before("proposal", np.asarray(proposal.x).tolist())


IN_64_BITS = """
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np

WEIGHTS = np.random.default_rng(0).normal(size=(25, 4))

def net():
    return jax.tree_util.Partial(lambda w, x: (x.astype(w.dtype) - 0.5).reshape(len(x), -1) @ w, jnp.asarray(WEIGHTS))
"""


@pytest.fixture
def bits():
    before = jax.config.values["jax_enable_x64"]
    yield
    jax.config.update("jax_enable_x64", before)


def test_a_file_that_asks_for_64_bits_gives_a_model_that_computes_in_32(tmp_path, bits, data):
    (tmp_path / "mine.py").write_text(IN_64_BITS)
    model = load_model(f"{tmp_path / 'mine.py'}:net")
    assert jax.config.values["jax_enable_x64"]
    result = evaluate(model, data, range(8), attacks("fgsm", "apgd:steps=3"), attacks_threat(), seed=0, batch_size=8)
    weights = np.random.default_rng(0).normal(size=(25, 4))
    true = (((data.images[:8] / 255).reshape(8, -1) - 0.5) @ weights).argmax(1)
    assert [row.clean_prediction for row in result.rows] == true.tolist()
    assert not result.provenance.x64


def attacks_threat():
    return ThreatSpec.parse("linf", "0.05")


# The precision of logits.

HALF = ("float16", "bfloat16")


@pytest.mark.parametrize("dtype", HALF)
def test_attacks_that_differentiate_logits_one_by_one_take_them_in_half_precision(dtype, data):
    half = make_model(lambda weights, x: network(weights, x).astype(dtype), digest=dtype)
    specs = attacks("fab:steps=3", "deepfool:steps=3", threat=L2)
    result, full = (evaluate(m, data, RIGHT, specs, L2, seed=0, batch_size=12, each=True) for m in (half, make_model()))
    assert [row[1] for row in verdicts(result)] == [row[1] for row in verdicts(full)]
    assert abs(result.robust.correct - full.robust.correct) <= 2  # a margin within a step of half precision is a tie


@pytest.mark.parametrize("dtype", HALF)
def test_a_randomised_model_in_half_precision_becomes_one_in_float32(dtype, data):
    def noisy(x, key):
        return network(WEIGHTS, x + 1e-3 * jax.random.normal(key, x.shape)).astype(dtype)

    model = make_model(digest="noisy")
    model = type(model)("noisy", Randomised(jax.tree_util.Partial(noisy), 2), model.shape, CLASSES, None, "noisy")
    x = data.images[:8] / np.float32(255)
    assert model.predict(jnp.asarray(x)).dtype == jnp.float32
    flags = {flag.name: flag for flag in examine(model, x, data.labels[:8], classes=CLASSES)}
    assert flags["low_precision"].evidence == {"dtype": dtype}


WEIGHTS = make_model().predict.network.args[0]


# Which of several outputs.


def several(weights, x):
    """Features come first, and are as many as the hidden units; probabilities are as many as logits."""
    logits = network(weights, x)
    return {"features": jnp.tanh(x.reshape(len(x), -1) @ weights[0]), "head": {"scores": logits}}


def test_of_several_outputs_the_one_as_wide_as_the_data_has_classes_is_attacked(data):
    one, two = make_model(), make_model(several)
    threat = attacks_threat()
    found = [evaluate(m, data, range(N), attacks("fgsm"), threat, seed=0, batch_size=N) for m in (one, two)]
    assert verdicts(found[0]) == verdicts(found[1])


@pytest.mark.parametrize(
    ("outputs", "name", "column"),
    [
        (lambda z: (z[:, :7], z[:, :4]), None, 0),
        (lambda z: (z[:, :4], z[:, 2:6]), "1", 2),
        (lambda z: {"probabilities": z[:, :4], "logits": z[:, 1:5]}, None, 1),
        (lambda z: {"out": {"Logits": z[:, 3:7]}, "features": z[:, :7]}, None, 3),
        (lambda z: [z[:, :4], None, z[:, 4:].argmax(1), z.reshape(-1, 2, 5)], None, 0),
        (lambda z: {"a": z[:, :4], "b": z[:, 4:8]}, "b", 4),
    ],
)
def test_the_logits_are_found_by_width_then_by_name_or_as_told(outputs, name, column):
    z = jnp.arange(20.0).reshape(2, 10)
    model = make_model(lambda _, x: outputs(z))
    told = expecting(model, 4, name)
    np.testing.assert_array_equal(told.predict(jnp.zeros((2, 5, 5, 1))), z[:, column : column + 4])
    assert (told.digest == model.digest) == (name is None)
