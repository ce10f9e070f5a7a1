"""Keras 3 models on JAX."""

import os

import jax
import numpy as np
import pytest

from advbench.attacks import FAB, NORMS, Threat
from advbench.core.errors import CorruptFile, UsageError
from advbench.core.outputs import expecting
from advbench.models.load import load_model
from advbench.preflight import examine

os.environ.setdefault("KERAS_BACKEND", "jax")

pytestmark = [
    pytest.mark.integration(needs="keras"),
    # Keras's own, where it hands its variables to NumPy.
    pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning"),  # a tensor where it wants a list of one
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

USER = """
import keras

def make():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential([
        layers.Input((6, 6, 2)), layers.Conv2D(4, 3, activation="tanh"), layers.BatchNormalization(),
        layers.Dropout(0.5), layers.Flatten(), layers.Dense(3),
    ])

def several():
    net = make()
    return keras.Model(net.inputs, {"hidden": net.layers[-2].output, "scores": net.outputs[0]})

def sigmoid():
    net = make()
    return keras.Model(net.inputs[0], net.outputs[0][:, :1])

def mixed():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return make()
    finally:
        keras.config.set_dtype_policy("float32")

def unbuilt():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
"""
X = np.asarray(jax.random.uniform(jax.random.key(0), (5, 6, 6, 2)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(USER)
    return path


def theirs():
    space = {}
    exec(USER, space)
    return space["make"]()


def test_logits_and_gradient_are_those_of_kerass_inference(file):
    model, net = load_model(f"{file}:make"), theirs()
    predict = jax.jit(lambda model, x: model(x))
    np.testing.assert_allclose(predict(model.predict, X), net(X, training=False), atol=1e-5)
    # Keras has no input gradient of its own on this backend: a central difference along it stands in.
    g = np.asarray(jax.grad(lambda x: model.predict(x)[:, 0].sum())(X))
    ahead, behind = (np.asarray(net(X + s * 0.01 * g / np.abs(g).max(), training=False))[:, 0].sum() for s in (1, -1))
    np.testing.assert_allclose((ahead - behind) / 0.02, (g**2).sum() / np.abs(g).max(), rtol=1e-2)
    assert model.record["framework"].startswith("keras 3")


def test_of_several_outputs_the_one_as_wide_as_the_classes_is_taken(file):
    model = expecting(load_model(f"{file}:several"), 3)
    np.testing.assert_array_equal(model.predict(X), load_model(f"{file}:make").predict(X))


def test_one_logit_is_that_of_the_second_of_two_classes(file):
    model, z = expecting(load_model(f"{file}:sigmoid"), 2), np.asarray(load_model(f"{file}:make").predict(X))[:, :1]
    np.testing.assert_array_equal(model.predict(X), np.concatenate([0 * z, z], 1))


def test_mixed_precision_is_attacked_in_float32_and_noted(file):
    model, labels = load_model(f"{file}:mixed"), np.asarray(load_model(f"{file}:make").predict(X)).argmax(1)
    assert model.predict(X).dtype == np.float32
    flags = {flag.name: flag for flag in examine(model, X, labels, classes=3)}
    assert flags["low_precision"].evidence == {"dtype": "bfloat16"}
    threat, keys = Threat(NORMS["linf"], 0.1), jax.random.split(jax.random.key(0), len(X))
    proposal = FAB(steps=2)(model.predict, threat, jax.numpy.asarray(X), jax.numpy.asarray(labels), keys)
    assert np.isfinite(proposal.x).all()


def test_weights_alone_fill_it_and_change_the_digest(file):
    net = theirs()
    net.set_weights([w + 0.1 for w in net.get_weights()])
    net.save_weights(file.parent / "net.weights.h5")
    model = load_model(f"{file}:make", weights=file.parent / "net.weights.h5")
    np.testing.assert_allclose(model.predict(X), net(X, training=False), atol=1e-4)
    assert model.digest != load_model(f"{file}:make").digest == load_model(f"{file}:make").digest


def test_other_files_and_damaged_ones_are_one_line(file):
    net = theirs()
    net.save(file.parent / "whole.keras")
    net.save_weights(file.parent / "net.weights.h5")
    whole = (file.parent / "net.weights.h5").read_bytes()
    for name, kind, message in (
        ("whole.keras", UsageError, "is not a .weights.h5 file"),
        ("none.weights.h5", UsageError, "no file"),
    ):
        with pytest.raises(kind, match=message):
            load_model(f"{file}:make", weights=file.parent / name)
    for cut in (0, 10, len(whole) // 2, len(whole) - 100):
        (file.parent / "cut.weights.h5").write_bytes(whole[:cut])
        with pytest.raises(CorruptFile, match="does not fit or is damaged") as caught:
            load_model(f"{file}:make", weights=file.parent / "cut.weights.h5")
        assert "\n" not in str(caught.value)


def test_a_model_that_is_not_built_is_refused(file):
    with pytest.raises(UsageError, match=r"not built: call model\.build"):
        load_model(f"{file}:unbuilt")
