"""Every attack, every family of defenses, ONNX files and checks for masked gradients, under settings of JAX that
someone else chose: the same to the last bit. What else there is of the kind stands in `test_settings.py`.

All of it computes within settings of its own, so that nothing compiles twice: the first setting pays for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from onnx import TensorProto, helper, numpy_helper

from advbench import load_model
from advbench.attacks import ATTACKS, NORMS, Threat
from advbench.attacks.base import Starts
from advbench.certification import certify
from advbench.core.ambient import own_settings
from advbench.core.dataset import Dataset
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec, build
from advbench.defenses import DEFENSES
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import fit
from advbench.preflight.masking import examine_masking

from .test_settings import SETTINGS

SHAPE, CLASSES, N = (3, 3, 1), 3, 4
FEW = {
    **{"steps": 2, "queries": 6, "rounds": 1, "samples": 2, "initial_num_evals": 2, "angles": 3, "shifts": 3},
    "kernel": 1,
}
EPS = {"linf": 0.1, "l2": 0.4, "l1": 1.0, "l0": 2.0, "any": 1.0}
WEIGHTS = np.random.default_rng(0).normal(size=(9, CLASSES)).astype(np.float32)
TWO = "steps=2,rel_step_size=0.6"
FAMILIES = (f"trades:{TWO}", "free:replays=2", "grad-align", f"awp-pgd:{TWO}", "crown-ibp")
"""One of each kind, beside PGD's in `test_settings.py`. mart, alp and noise differ from trades by a formula, fgsm-rs
and n-fgsm are the inner step of grad-align, ibp is a part of crown-ibp, standard of all; awp goes around any."""


@pytest.fixture(scope="module")
def arrays():
    images = np.random.default_rng(1).integers(60, 196, (32, *SHAPE), dtype=np.uint8)
    labels = ((images / 255 - 0.5).reshape(32, -1) @ WEIGHTS).argmax(1).astype(np.int32)
    return images, labels


def network(w, x):
    return (x - 0.5).reshape(len(x), -1) @ w


@pytest.fixture(scope="module")
def model():
    with own_settings():
        predict = jax.tree_util.Partial(network, jnp.asarray(WEIGHTS))
    return LoadedModel("linear", predict, SHAPE, CLASSES, None, "digest")


def same(once):
    """Call it under every setting; all answers are the first one's, to the last bit."""
    found = {}
    for name, setting in SETTINGS.items():
        with setting():
            found[name] = jax.tree.map(np.asarray, once())
    first = found["as they are"]
    for name, other in found.items():
        assert jax.tree.structure(other) == jax.tree.structure(first), name
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
    return first


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_proposes_the_same(name, model, arrays):
    fields = {each: FEW[each] for each in FEW if hasattr(ATTACKS[name], each)}
    attack = ATTACKS[name](**fields)
    norm = "l2" if "l2" in attack.norms else attack.norms[0]
    with own_settings():
        threat, keys = Threat(NORMS[norm], EPS[norm]), jax.random.split(jax.random.key(0), N)
        x, labels = jnp.asarray(arrays[0][:N] / np.float32(255)), jnp.asarray(arrays[1][:N])
        # Another image to set out from, so that none has to be searched for.
        others = jnp.asarray(arrays[0][N:] / np.float32(255))[None, :2].repeat(N, 0)
        y = Starts(labels, others, jnp.full(N, 2)) if attack.starts else labels

    def once():
        aimed = attack.loss_reference(model.predict, x, labels, 0)
        return attack(model.predict, threat, x, y if attack.starts else aimed, keys)

    proposal = same(once)
    assert proposal.x.dtype == np.float32 and proposal.forwards.dtype == np.int32


class Tiny(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(9, CLASSES, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(x.reshape(len(x), -1))


@pytest.mark.parametrize("text", FAMILIES)
def test_every_family_of_defenses_trains_the_same(text, arrays):
    defense = build("defense", text, DEFENSES)
    recipe = Recipe(epochs=1, batch_size=8, validation=16, lr=0.01)
    with own_settings():
        threat = Threat(NORMS["linf"], 0.05)

    def once():
        with own_settings():
            module = Tiny()
        fitted = fit(module, defense, threat, *arrays, recipe)
        return nnx.state(fitted.module), fitted.best["robust"]

    same(once)


def test_an_onnx_file_answers_the_same(tmp_path, arrays):
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *rest])
        for name, rest in (("x", SHAPE), ("y", (CLASSES,)))
    )
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(WEIGHTS, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    images = arrays[0][:N] / np.float32(255)

    def once():
        loaded = load_model(str(tmp_path / "m.onnx"))
        with own_settings():
            return jax.jit(loaded.predict)(jnp.asarray(images))

    np.testing.assert_allclose(same(once), images.reshape(N, -1) @ WEIGHTS, rtol=1e-5)


def test_checks_for_masked_gradients_and_proofs_are_the_same(model, arrays):
    images, labels = arrays
    threat = ThreatSpec.parse("linf", "0.02")
    data = Dataset("noise", "test", images, labels, tuple("abc"), "made here", "data", len(labels))

    def once():
        found = examine_masking(model, images / np.float32(255), labels, threat, seed=0, batch_size=32, classes=CLASSES)
        told = [(flag.name, flag.level, flag.message) for flag in found]
        proofs = [certify(model, data, range(N), threat, how) for how in ("crown", "ibp")]
        return np.array(str(told)), [[row.certified for row in proof.rows] for proof in proofs]

    same(once)
