"""ONNX files on the command line: layouts found, preprocessing declared, and a translation that is checked."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from onnx import helper, numpy_helper

from advbench.data import load
from advbench.evaluation import Result
from advbench.onnx.operators import OPERATORS

ATTACK = ("--data", "mnist", "--attack", "fgsm", "--eps", "0.1", "-n", "64", "--preflight", "none")


@pytest.fixture
def model(run, tmp_path):
    """`means.onnx`: the nearest mean of MNIST's classes, for normalised rows, column by column."""
    data = load("mnist")
    x = (data.images[:1000, ..., 0].transpose(0, 2, 1).reshape(1000, -1) / 255 - 0.5) / 0.25
    w = np.stack([x[data.labels[:1000] == k].mean(0) for k in range(10)], 1).astype(np.float32)
    arrays = {"w": w, "b": -0.5 * (w**2).sum(0)}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["i"]), helper.make_node("Gemm", ["i", "w", "b"], ["y"])],
        "means",
        [helper.make_tensor_value_info("x", kind, ("n", 784))],
        [helper.make_tensor_value_info("y", kind, ("n", 10))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "means.onnx").write_bytes(file.SerializeToString())
    return "means.onnx"


def test_the_layout_is_found_and_kept_so_that_the_run_can_be_verified(run, model):
    done = run("attack", model, *ATTACK, "--mean", "0.5", "--std", "1/4", "--expect-clean", "80%", "--out", "out")
    assert done.exit_code == 0, done.stderr
    assert "means: input layout flat-cwh, by accuracy: flat-chw" in done.stderr
    result = Result.load(Path("out"))
    assert result.model.preprocess == {"layout": "flat-cwh", "mean": [0.5], "std": [0.25]}
    assert result.clean.accuracy > 0.7
    verified = run("verify", "out")
    assert verified.exit_code == 0, verified.stdout
    assert "FAIL" not in verified.stdout


def test_a_wrong_normalisation_is_seen_by_the_expected_accuracy(run, model):
    done = run("attack", model, *ATTACK, "--input-layout", "flat-chw", "--expect-clean", "0.8")
    assert done.exit_code == 3
    assert "unexpected_clean: clean accuracy is" in done.stderr
    assert "check --input-layout, --mean, --std" in done.stderr


def test_another_preprocessing_is_another_run(run, model):
    words = ("attack", model, *ATTACK, "--input-layout", "flat-cwh", "--out", "out")
    assert run(*words, "--mean", "0.5", "--std", "1/4").exit_code == 0
    done = run(*words, "--resume")
    assert done.exit_code == 2
    assert "preprocessing (was" in done.stderr


def test_the_doctor_compares_with_the_original_runtime(run, model, monkeypatch):
    monkeypatch.setattr("advbench.preflight.selftest", lambda seed: [])
    words = ("doctor", model, "--data", "mnist", "-n", "64", "--mean", "0.5", "--std", "1/4", "--json", "-")
    found = json.loads(run(*words).stdout)
    assert found["model"]["accuracy"] > 0.7
    assert not [flag for flag in found["model"]["flags"] if flag["name"] == "translation"]
    monkeypatch.setitem(OPERATORS, "Identity", lambda node, x: jnp.maximum(x, -1.9))
    done = run(*words)
    assert done.exit_code == 3
    assert "translation" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.onnx", "--data", "mnist"], "cannot read none.onnx"),
        (["means.onnx"], "name it with --data"),
        (["means.onnx", "--data", "mnist", "--input-layout", "nchv"], "unknown input layout 'nchv'"),
        (["means.onnx", "--data", "mnist", "--mean", "x"], "--mean 'x'"),
        (["means.onnx", "--data", "mnist", "--std", "0"], "should be positive"),
        (["means.onnx", "--data", "mnist", "--expect-clean", "80"], "--expect-clean '80'"),
        (["mnist-pgd", "--mean", "0.5"], "leave out --input-layout"),
    ],
)
def test_each_mistake_is_one_clear_line(run, model, words, message):
    done = run("attack", *words, "--attack", "fgsm", "--eps", "0.1", "-n", "8", "--preflight", "none")
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
