"""Every way to name a model, and what is said when the name or the user's code is wrong."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.core.errors import UsageError
from advbench.core.usercode import makers
from advbench.models import load, store
from advbench.models.load import load_model
from advbench.nn import create

SHAPE = (4, 4, 1)
USER = """
import functools
import jax.numpy as jnp
import numpy as np
from advbench.core.external import External
from flax import linen, nnx
from helper import SCALE

ODD = {1: "keys", "without": "order"}
W = jnp.arange(48.0).reshape(16, 3) * SCALE

def function():
    return lambda images: images.reshape(len(images), -1) @ W

class Object:
    def __init__(self):
        self.w = W
    def __call__(self, images):
        return images.reshape(len(images), -1) @ self.w

def bound():
    return Object().__call__

def partial():
    return functools.partial(lambda w, images: images.reshape(len(images), -1) @ w, W)

def pair():
    return (lambda params, images: images.reshape(len(images), -1) @ params["w"], {"w": W})

class Linen(linen.Module):
    sizes: list
    @linen.compact
    def __call__(self, images):
        return linen.Dense(3, use_bias=False, kernel_init=lambda *_: W)(images.reshape(len(images), -1))

def flax_linen():
    net = Linen([1])
    import jax
    return net.apply, net.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))

def linen_module():
    net = Linen([1])
    return net, flax_linen()[1]

class Nnx(nnx.Module):
    def __init__(self):
        self.w = nnx.Param(W)
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    def __call__(self, images):
        return self.drop(images.reshape(len(images), -1) @ self.w[...])

class Host:
    def __init__(self):
        self.w = np.asarray(W)
    def forward(self, images):
        return images.reshape(len(images), -1) @ self.w

def outside():
    return External(Host().forward)

def number():
    return 3

def raises():
    raise RuntimeError("first line\\nsecond line")

not_callable = 1
"""
FACTORIES = ["function", "Object", "bound", "partial", "pair", "flax_linen", "linen_module", "Nnx", "outside"]


@pytest.fixture
def user(tmp_path):
    (tmp_path / "helper.py").write_text("SCALE = 0.5\n")
    path = tmp_path / "mine.py"
    path.write_text(USER)
    yield path
    sys.modules.pop("helper", None)


@pytest.mark.parametrize("factory", FACTORIES)
def test_user_code_of_every_kind_becomes_a_jit_argument(user, factory):
    model = load_model(f"{user}:{factory}")
    x = jax.random.uniform(jax.random.key(0), (2, *SHAPE))
    out = jax.jit(lambda model, x: model(x))(model.predict, x)
    np.testing.assert_allclose(out, x.reshape(2, 16) @ (jnp.arange(48.0).reshape(16, 3) * 0.5), rtol=1e-5)
    assert model.name == f"mine:{factory}"
    assert (model.shape, model.classes, model.dataset, model.record) == (None, None, None, {})


@pytest.mark.parametrize("factory", FACTORIES)
def test_digest_follows_the_arrays_wherever_they_are_held(user, factory):
    spec = f"{user}:{factory}"
    first = load_model(spec).digest
    assert load_model(spec).digest == first
    (user.parent / "helper.py").write_text("SCALE = 0.25  # The weights change, the file with the factory does not.\n")
    sys.modules.pop("helper")
    assert load_model(spec).digest != first


def test_two_files_of_one_name_do_not_mix_and_the_path_is_left_clean(tmp_path):
    before = list(sys.path)
    for folder, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "attacks.py").write_text(f"def make(): return lambda x: x.sum((1, 2)) * {value}\n")
    one, two = (load_model(f"{tmp_path / folder}/attacks.py:make").predict(jnp.ones((1, 2, 2, 1))) for folder in "ab")
    assert (float(one[0, 0]), float(two[0, 0])) == (4.0, 8.0)
    assert sys.path == before
    assert "attacks" not in sys.modules


def test_module_is_found_in_the_working_directory(user, monkeypatch):
    monkeypatch.chdir(user.parent)
    try:
        assert load_model("mine:function").predict(jnp.ones((1, *SHAPE))).shape == (1, 3)
    finally:
        sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{file}:number", "returned int, which is not a model"),
        ("{file}:raises", r"failed: RuntimeError: first line second line \(.*mine\.py:\d+\)"),
        ("{file}:absent", r"has no function 'absent' .it could be function or Object or bound or "),
        ("{file}", r"mine\.py is code: name the function in it that makes the model, .*mine\.py:function or "),
        ("{folder}/helper.py", r"is code without a function that takes nothing: write one that returns the model"),
        ("{file}:not_callable", "has no function 'not_callable'"),
        ("{folder}/none.py:f", "no file"),
        ("no_such_package:f", "failed: ModuleNotFoundError: No module named 'no_such_package'"),
        ("{folder}/runs/none", "no model at"),
        ("{folder}", "cannot read .*model.json"),
        ("{folder}/weights.safetensors", "cannot read"),
        ("{folder}/net.pt", "is not opened.*file.py:factory --weights FILE"),
        ("net.keras", r"is not opened.*--weights NAME\.weights\.h5"),
        ("net.pkl", "is not opened.*write a factory"),
        ("robustbench:", "should be robustbench:NAME"),
        ("robustbench:cifar10/linf/Name", "should be robustbench:NAME or"),
        ("demo-modle", "did you mean 'demo-model'"),
    ],
)
def test_each_mistake_is_one_clear_line(user, monkeypatch, spec, message):
    (user.parent / "released" / "demo-model").mkdir(parents=True)
    (user.parent / "released" / "demo-model" / "model.json").write_text("{}")
    monkeypatch.setattr(load, "RELEASED", user.parent / "released")
    with pytest.raises(UsageError, match=message) as caught:
        load_model(spec.format(file=user, folder=user.parent))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_syntax_error_of_the_user_is_one_line_too(tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(UsageError, match="SyntaxError") as caught:
        load_model(f"{tmp_path}/broken.py:f")
    assert "\n" not in str(caught.value)


def test_run_directory_weights_file_and_released_name_are_one_model(tmp_path, monkeypatch):
    folder = tmp_path / "fine-run"
    module = create("mlp", shape=SHAPE, classes=3, seed=0)
    manifest = store.save(folder, module, architecture="mlp", shape=SHAPE, classes=3, dataset="mnist", record={"n": 1})
    monkeypatch.setattr(load, "RELEASED", tmp_path)
    monkeypatch.chdir(folder)
    for spec in (str(folder), str(folder / "model.safetensors"), "fine-run", "."):
        model = load_model(spec)
        assert (model.name, model.shape, model.classes, model.dataset) == ("fine-run", SHAPE, 3, "mnist")
        assert (model.digest, model.record) == (manifest.digest, {"n": 1})
    assert load.released() == ["fine-run"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [("{file}:pair", "--weights is for PyTorch and Keras models; .* returned tuple"), ("mlp", "mlp has its own")],
)
def test_weights_for_what_takes_none_are_refused(user, spec, message):
    with pytest.raises(UsageError, match=message):
        load_model(spec.format(file=user), weights=user)


FOREIGN = {
    "net.pt2": "torch.export.load(FILE).module()",
    "net.tflite": "export the network to ONNX",
    "net.msgpack": "flax.serialization.msgpack_restore",
    "net.npz": "numpy.load",
    "net.ort": "name the .onnx file",
    "net.eqx": "eqx.tree_deserialise_leaves",
    "net.engine": "TensorRT engine, which has no gradient",
    "net.safetensors": "holds weights alone: name a factory",
    "net.xyz": "is not a model of a known kind",
    "saved/saved_model.pb": "is a TensorFlow SavedModel",
    "orbax/_CHECKPOINT_METADATA": "is an Orbax checkpoint: restore it by orbax.checkpoint",
    "hub/config.json": "AutoModelForImageClassification.from_pretrained",
    "flow/MLmodel": "mlflow models serve",
}


@pytest.mark.parametrize(("name", "message"), FOREIGN.items(), ids=FOREIGN)
def test_a_file_or_folder_that_is_not_read_is_told_with_the_way_in(tmp_path, name, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    spec = path if path.parent == tmp_path else path.parent
    with pytest.raises(UsageError, match=str(spec)) as caught:
        load_model(str(spec))
    assert message in str(caught.value) and "unknown model" not in str(caught.value)


def test_functions_that_could_make_a_model_take_nothing(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        "import os\ndef make(width=3, *, deep=True): pass\ndef train(data): pass\ndef _own(): pass\n"
        "def keyword(*, needed): pass\nclass Net:\n    def __init__(self): pass\n    def forward(self): pass\n"
        "class Wide:\n    def __init__(self, width): pass\nclass Oops(Exception): pass\nraise RuntimeError\n"
    )
    assert makers(path) == ["make", "Net"]
    path.write_text("def f(:")
    assert makers(path) == makers(tmp_path / "none.py") == []
