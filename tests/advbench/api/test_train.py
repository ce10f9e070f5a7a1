"""`advbench.train`: a network of one's own, weights to start from, images decoded as they are asked for."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import advbench
from advbench.cli import app
from advbench.core.dataset import Dataset
from advbench.core.errors import CorruptFile, UsageError
from advbench.core.lazy import Lazy, content_digest
from advbench.defenses import Standard
from advbench.models import initial
from advbench.models.architecture import find
from advbench.models.load import load_model

RECIPE = {"epochs": 1, "batch_size": 16, "lr": 0.01}
THREAT = {"norm": "linf", "eps": "0.1"}
NET = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self, shape, classes, *, rngs):
        self.first = nnx.Linear(shape[0] * shape[1] * shape[2], 12, rngs=rngs)
        self.norm = nnx.BatchNorm(12, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.head = nnx.Linear(12, classes, rngs=rngs)

    def __call__(self, x):
        return self.head(self.drop(nnx.relu(self.norm(self.first(x.reshape(len(x), -1))))))

def without_seed(shape, classes):
    return Net(shape, classes, rngs=nnx.Rngs(0))

def number():
    return 3

def strange(width, depth, height):
    return 3

def wrong_logits(shape, classes, *, rngs):
    return Net(shape, 7, rngs=rngs)

def broken(shape, classes, *, rngs):
    raise RuntimeError("no luck")

class Restless(Net):
    def __init__(self, shape, classes, *, rngs):
        super().__init__(shape, classes, rngs=rngs)
        self.calls = nnx.BatchStat(0)

    def __call__(self, x):
        self.calls.set_value(self.calls.get_value() + 1)
        return super().__call__(x)

class Pair(Net):
    def __call__(self, x):
        return super().__call__(x), x

class Nothing(nnx.Module):
    def __init__(self, shape, classes):
        self.classes = classes

    def __call__(self, x):
        return x.reshape(len(x), -1)[:, :self.classes]
"""


class Mine(nnx.Module):
    """A network that this file defines."""

    def __init__(self, shape, classes, *, rngs):
        self.layer = nnx.Linear(int(np.prod(shape)), classes, rngs=rngs)

    def __call__(self, x):
        return self.layer(x.reshape(len(x), -1))


def arrays(classes=2, n=64):
    labels = np.arange(n) % classes
    images = np.random.default_rng(0).integers(0, 60, (n, 8, 8, 1))
    images += (labels * 180 // (classes - 1))[:, None, None, None]
    return images.astype(np.uint8), labels


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working directory with the user's file, and a machine on which nothing was trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("net.py").write_text(NET)


def train(arch="net.py:Net", data=None, defense="standard", **more):
    return advbench.train(data or arrays(), arch, defense, **THREAT, **RECIPE, **more)


def logits(model):
    return np.asarray(model.predict(arrays()[0].astype(np.float32) / 255))


def test_a_run_with_code_of_ones_own_loads_again():
    trained = train(out="run")
    loaded = load_model("run")
    assert (loaded.digest, loaded.shape, loaded.classes) == (trained.digest, (8, 8, 1), 2)
    np.testing.assert_array_equal(logits(loaded), logits(trained))
    manifest = json.loads(Path("run/model.json").read_text())
    digest = hashlib.sha256(NET.encode()).hexdigest()
    assert manifest["code"] == {"where": "net.py", "factory": "Net", "sha256": digest}
    record = manifest["record"]
    assert record["data"]["source"] == "memory"
    assert record["validation"]["robust_against"] == "PGD-10"


def test_code_that_is_missing_changed_or_unknown_is_refused_and_naming_it_helps(monkeypatch, tmp_path):
    expected = logits(train(out="run"))
    Path("net.py").write_text(NET + "# touched\n")
    with pytest.raises(UsageError, match=r"net\.py was changed since run was trained .*net\.py:Net --weights run"):
        load_model("run")
    for named in (load_model("run", arch="net.py:Net"), load_model("net.py:Net", weights=Path("run"))):
        np.testing.assert_array_equal(logits(named), expected)
    Path("net.py").unlink()
    with pytest.raises(UsageError, match=r"run needs net\.py, which is not here"):
        load_model("run")
    Path("net.py").write_text(NET)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match="never trained with on this machine") as caught:
        load_model("run")
    assert "\n" not in str(caught.value)


def test_a_manifest_does_not_choose_what_runs():
    """Code that was trained with is known by its digest, factory and all: another function of the file is another."""
    train(out="run")
    manifest = Path("run/model.json")
    manifest.write_text(manifest.read_text().replace('"factory": "Net"', '"factory": "without_seed"'))
    with pytest.raises(UsageError, match="never trained with"):
        load_model("run")


def test_a_class_will_do_and_an_own_file_knows_it():
    trained = train(Mine, out="run")
    np.testing.assert_array_equal(logits(load_model("run", arch=Mine)), logits(trained))

    class Local(Mine):
        pass

    trained = train(Local, out="local")
    with pytest.raises(UsageError, match="which is not in a file"):
        load_model("local")
    np.testing.assert_array_equal(logits(load_model("local", arch=Local)), logits(trained))


def test_the_seed_draws_the_weights_and_a_factory_need_not_take_it():
    first, again = (find("net.py:Net").create((8, 8, 1), 2, seed) for seed in (1, 1))
    other, fixed = find("net.py:Net").create((8, 8, 1), 2, 2), find("net.py:without_seed").create((8, 8, 1), 2, 1)
    np.testing.assert_array_equal(first.head.kernel[...], again.head.kernel[...])
    assert (first.head.kernel[...] != other.head.kernel[...]).any()
    assert fixed.head.kernel.shape == (12, 2)


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("mlpp", "did you mean 'mlp'.*or file.py:factory"),
        ("absent.py:Net", "no file absent.py"),
        ("net.py:Nett", "no function 'Nett'"),
        ("net.py:number", "made int: it should make a Flax NNX module"),
        ("net.py:strange", r"takes \(width, depth, height\): write it as"),
        ("net.py:wrong_logits", r"gives float32\[2, 7\] for 2 images, where logits float32\[2, 2\] are needed"),
        ("net.py:broken", "net.py:broken failed: RuntimeError: no luck"),
        ("net.py:Restless", "changes calls in evaluation mode too"),
        ("net.py:Pair", "gives tuple, not one array"),
        ("net.py:Nothing", "has no nnx.Param"),
    ],
)
def test_what_is_no_network_to_train_is_one_line_before_any_compute(arch, words):
    with pytest.raises(UsageError, match=words) as caught:
        train(arch, out="run")
    assert "\n" not in str(caught.value)
    assert not Path("run").exists()


def test_training_starts_from_the_weights_given():
    first = train("mlp", out="run")
    tuned = advbench.train(arrays(), "mlp", "standard", **THREAT, **{**RECIPE, "lr": 1e-9, "seed": 5}, init="run")
    np.testing.assert_allclose(logits(tuned), logits(first), atol=1e-4)
    assert tuned.record["init"] == {"source": "run", "digest": first.digest, "replaced": []}


def test_another_number_of_classes_begins_with_a_new_head_and_says_so():
    train(out="run")
    told = []
    model = train(data=arrays(3), init="run", notify=told.append)
    assert "note: head gets new weights: run has 2 classes, not 3" in told
    assert model.classes == 3
    assert model.record["init"]["replaced"] == ["head"]
    module, fresh = (find("net.py:Net").create((8, 8, 1), 3, 1) for _ in range(2))
    initial.read("run").put_into(module, find("net.py:Net"), (8, 8, 1), 3)
    np.testing.assert_array_equal(module.head.kernel[...], fresh.head.kernel[...])
    np.testing.assert_array_equal(module.first.kernel[...], load_file("run/model.safetensors")["first.kernel"])


def test_weights_of_another_architecture_name_the_nearest_pairs():
    train(out="run")
    before = sorted(Path("run").iterdir())
    with pytest.raises(UsageError) as caught:
        train("mlp", init="run")
    words = str(caught.value)
    assert words.startswith("run does not fit mlp: ")
    assert "layers.0.bias [256] is not given, the nearest is first.bias [12]" in words
    assert "\n" not in words
    with pytest.raises(UsageError, match=r"first.kernel \[192, 12\] is given as \[64, 12\]"):
        train(data=(np.repeat(arrays()[0], 3, -1), arrays()[1]), init="run")
    assert sorted(Path("run").iterdir()) == before


def test_a_bare_file_of_weights_will_do_and_a_damaged_one_is_refused():
    train(out="run")
    stored = load_file("run/model.safetensors")
    save_file({name: array.astype(np.float16) for name, array in stored.items()}, "half.safetensors")
    module = find("net.py:Net").create((8, 8, 1), 2, 5)
    initial.read("half.safetensors").put_into(module, find("net.py:Net"), (8, 8, 1), 2)
    np.testing.assert_array_equal(module.first.kernel[...], stored["first.kernel"].astype(np.float16))
    assert module.first.kernel.dtype == np.float32
    content = bytearray(Path("run/model.safetensors").read_bytes())
    content[-1] ^= 1
    Path("run/model.safetensors").write_bytes(content)
    with pytest.raises(CorruptFile, match="sha256 expected"):
        train(init="run")
    for spec, words in (("mnist-pdg", "mnist-pgd"), ("no/where", "no weights at"), ("no.safetensors", "cannot read")):
        with pytest.raises(UsageError, match=words):
            train(init=spec)


class Decoded(Lazy):
    """Rows of an array, made when they are asked for; counts how many are wanted at once."""

    def __init__(self, rows):
        super().__init__(rows.shape)
        self.rows, self.most = rows, 0

    def one(self, index):
        return self.rows[index]

    def _rows(self, indices):
        self.most = max(self.most, len(indices))
        return super()._rows(indices)


def test_images_decoded_as_asked_for_train_the_same_network_a_batch_at_a_time():
    images, labels = arrays(n=400)
    lazy, numbers = Decoded(images), labels.astype(np.int32)
    digest = content_digest(images, numbers)
    sets = (Dataset("set", "train", each, numbers, ("a", "b"), "here", digest, 400) for each in (images, lazy))
    first, second = (train("mlp", data, "fgsm-rs", sampler="balanced", augment="crop-flip") for data in sets)
    assert first.digest == second.digest
    assert lazy.most == RECIPE["batch_size"]
    assert first.record["images"] == second.record["images"]


def test_a_val_split_chooses_the_weights_and_all_of_train_is_trained_on():
    """Labels of val are the other way round: the better the network, the worse it is there."""
    images, labels = arrays(n=32)
    splits = {"train": labels, "val": 1 - labels, "test": labels}
    np.savez("set.npz", **{f"x_{name}": images for name in splits}, **{f"y_{name}": y for name, y in splits.items()})
    told = []
    model = train("mlp", "set.npz", notify=told.append)
    assert "note: set: weights are chosen by 32 of the 32 images of val" in told
    assert any("images are in test too" in line for line in told)
    assert model.record["images"]["trained_on"] == 32 and model.record["images"]["validated_on"] == 32
    assert model.record["images"]["validation"]["split"] == "val"
    right = np.asarray(model.predict(images.astype(np.float32) / 255)).argmax(1) == labels
    assert model.record["validation"]["clean"] == 1 - right.mean() < 0.5
    train("mlp", "set.npz", validation=4, out="run")
    with pytest.raises(UsageError, match="validation data"):
        np.savez("set.npz", **{f"x_{name}": images for name in splits}, **{f"y_{name}": labels for name in splits})
        train("mlp", "set.npz", validation=4, out="run", resume=True)


def test_without_out_nothing_is_written_and_what_stands_is_not_overwritten():
    before = set(Path.cwd().iterdir())
    train("mlp", defense=Standard())
    assert {each for each in set(Path.cwd().iterdir()) - before if each.name != "cache"} == set()
    Path("run").mkdir()
    Path("run/mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        train("mlp", out="run")
    with pytest.raises(UsageError, match="resume needs out"):
        train("mlp", resume=True)
    with pytest.raises(UsageError, match="the data has no perturbation that is usual"):
        advbench.train(arrays(), "mlp")


def test_the_command_trains_the_same_network_and_the_old_option_says_its_new_name():
    images, labels = arrays()
    np.savez("set.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    options = ["--norm", "linf", "--eps", "0.1", "--epochs", "1", "--batch-size", "16", "--lr", "0.01"]
    options += ["--class-weights", "1,3", "--defense", "standard", "--init", "start"]
    train(out="start")
    done = CliRunner().invoke(app, ["train", "set.npz", "--model", "net.py:Net", *options, "--out", "run"])
    assert done.exit_code == 0, done.stderr
    assert "advbench: --model is now --arch" in done.stderr
    model = train(data="set.npz", class_weights=(1, 3), init="start")
    assert load_model("run").digest == model.digest
    told = re.sub(r"\s+", " ", done.stdout)
    assert "model written to run" in told
