"""PyTorch modules as models."""

import contextlib
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.outputs import expecting
from advbench.core.preprocess import Preprocess
from advbench.models import pytorch
from advbench.models.load import load_model

with contextlib.suppress(ModuleNotFoundError):
    import torch

pytestmark = pytest.mark.integration(needs="torch")

USER = """
import os
from dataclasses import dataclass
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.norm.running_mean += 0.1
        self.scale = torch.tensor(2.0)  # neither parameter nor buffer
    def forward(self, x):
        y = nn.functional.relu(self.norm(self.conv(x)), inplace=True)
        return self.scale * self.head(nn.functional.max_pool2d(y, 2).mean((2, 3)))

class InPlace(Net):
    def forward(self, x):
        return super().forward(x.mul_(0.5))

class Twice(Net):
    def forward(self, x):
        y = super().forward(x)
        return y, 2 * y

class Pair(Net):
    def forward(self, x):
        return x.flatten(1), super().forward(x)

class Named(Net):
    def forward(self, x):
        y = super().forward(x)
        return {"probabilities": y.softmax(1), "logits": y, "hidden": None}

class WholeImages(Net):
    def forward(self, x):
        return super().forward(x)[:, :, None, None]

class Sigmoid(Net):
    def forward(self, x):
        return super().forward(x)[:, :1]

class Pooled(Sigmoid):
    def forward(self, x):
        return super().forward(x), x.mean((2, 3), keepdim=True).repeat(1, 2, 1, 1)

@dataclass
class Output:
    logits: torch.Tensor
    hidden: object = None

class WithOutput(Net):
    def forward(self, x):
        return Output(super().forward(x))

class OfBytes(Net):
    def forward(self, x):
        if x.dtype != torch.uint8:
            raise TypeError("expected a ByteTensor")
        return super().forward(x / 255)

def exported():
    batch = torch.export.Dim("batch")
    return torch.export.export(Net().eval(), (torch.zeros(2, 2, 6, 6),), dynamic_shapes=({0: batch},)).module()

class Text(Net):
    def forward(self, x):
        return "logits"

class Autocast(Net):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)

class Half(Net):
    def forward(self, x):
        return super().forward(x).half()

class Detached(Net):
    def forward(self, x):
        return super().forward(x.detach())

class Last(Net):
    def forward(self, x):
        return super().forward(x.movedim(-1, 1))

def half():
    return Net().half()

def changed():
    net = Net()
    exec(os.environ["CHANGE"])
    return net
"""
X = jax.random.uniform(jax.random.key(0), (5, 6, 6, 2))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(USER)
    return path


def theirs(file):
    """The module, made as its user would make it."""
    space = {}
    exec(compile(USER, str(file), "exec"), space)
    return space["Net"]().eval()


def tensor(x):
    return torch.from_numpy(np.ascontiguousarray(np.asarray(x).transpose(0, 3, 1, 2)))


def logits(module, x):
    with torch.no_grad():
        return module(tensor(x)).numpy()


def input_gradient(module, x):
    images = tensor(x).requires_grad_()
    return torch.autograd.grad((module(images) ** 2).sum(), images)[0].numpy().transpose(0, 2, 3, 1)


def ours(model, x):
    return jax.jit(jax.grad(lambda x: (model.predict(x) ** 2).sum()))(x)


def test_logits_and_gradient_are_pytorchs_own(file):
    model, module = load_model(f"{file}:Net"), theirs(file)
    np.testing.assert_allclose(jax.jit(model.predict)(X), logits(module, X), atol=1e-6)
    np.testing.assert_allclose(ours(model, X), input_gradient(module, X), atol=1e-6)
    assert model.preprocess.layout == "nchw" and model.access == "gradient"
    assert model.record["evaluation mode"].startswith("set by advbench")


def test_layout_and_normalisation_are_declared_as_for_any_model(file):
    module = theirs(file)
    last = load_model(f"{file}:Last", Preprocess("nhwc", (0.5,), (0.25,)))
    np.testing.assert_allclose(last.predict(X), logits(module, (X - 0.5) / 0.25), atol=1e-5)


def test_a_module_that_works_in_place_can_be_climbed(file):
    model, module = load_model(f"{file}:InPlace"), theirs(file)
    np.testing.assert_allclose(ours(model, X), 0.5 * input_gradient(module, 0.5 * X), atol=1e-6)
    np.testing.assert_allclose(model.predict(X), logits(module, 0.5 * X), atol=1e-6)


def test_a_graph_lives_as_long_as_gradients_are_expected_of_it(file):
    """As many as at the images before: no pass is computed twice, and nothing is kept after the last."""
    module = theirs(file)
    calls, kept = [], []
    module.register_forward_hook(lambda *_: calls.append(1))
    external, _ = pytorch.external(module, "mine")
    x = tensor(X).numpy()
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)

    class Saved:
        def __init__(self, value):
            self.value = value
            kept.append(weakref.ref(self))

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.value):
        _, pull = external.vjp(x)
        one, other = pull(a), pull(b)
        assert len(calls) == 2  # the second gradient came unexpected
        _, pull = external.vjp(x)
        np.testing.assert_array_equal(pull(a), one)
        assert len(calls) == 3 and any(each() for each in kept)
        np.testing.assert_array_equal(pull(b), other)
        assert len(calls) == 3 and not any(each() for each in kept)
        np.testing.assert_allclose(pull(a + b), one + other, atol=1e-6)
    images = torch.from_numpy(x).requires_grad_()
    (true,) = torch.autograd.grad(module(images), images, torch.from_numpy(a))
    np.testing.assert_array_equal(one, true.numpy())


CHANGES = ("pass", "net.conv.bias.data += 1", "net.norm.running_var += 1", "net.scale = torch.tensor(3.0)")


def test_digest_follows_parameters_buffers_and_attributes(file, monkeypatch):
    seen = []
    for change in (*CHANGES, "pass"):  # outside of the file
        monkeypatch.setenv("CHANGE", change)
        seen.append(load_model(f"{file}:changed").digest)
    assert len(set(seen)) == len(CHANGES) and seen[0] == seen[-1]


def test_weights_fill_the_module_and_change_the_digest(file):
    module = theirs(file)
    torch.save(
        {"net": {k: v + 1 if v.is_floating_point() else v for k, v in module.state_dict().items()}},
        file.parent / "net.pt",
    )
    model = load_model(f"{file}:Net", weights=file.parent / "net.pt")
    module.load_state_dict(torch.load(file.parent / "net.pt")["net"])
    np.testing.assert_allclose(model.predict(X), logits(module, X), rtol=1e-5)
    assert model.digest != load_model(f"{file}:Net").digest


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("half", r"not float32 \(conv.weight torch.float16\): call .float\(\)"),
        ("Twice", "several outputs .*: name"),
        ("Text", "returns str, not a tensor"),
        ("OfBytes", r"TypeError: expected a ByteTensor; images come as float32 in \[0, 1\]: .* 255 \* x"),
    ],
)
def test_modules_that_can_not_be_evaluated_are_one_line(file, factory, message):
    with pytest.raises(UsageError, match=message):
        load_model(f"{file}:{factory}").predict(X)


@pytest.mark.parametrize("factory", ["Pair", "Named"])
def test_of_several_outputs_the_logits_are_taken_by_width_or_name(file, factory):
    plain, model = load_model(f"{file}:Net"), expecting(load_model(f"{file}:{factory}"), 3)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    for one, other in zip(gradient(model.predict, X), gradient(plain.predict, X), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_output_can_be_named(file):
    plain, model = load_model(f"{file}:Net"), expecting(load_model(f"{file}:Twice"), 3, "1")
    np.testing.assert_array_equal(model.predict(X), 2 * plain.predict(X))
    with pytest.raises(UsageError, match=r"no output '2' .there are: 0 .*, 1 "):
        expecting(load_model(f"{file}:Twice"), 3, "2").predict(X)


def gradient(model, x):
    input_gradient, logits = jax.grad(lambda x: ((z := model(x))[:, 0].sum(), z), has_aux=True)(x)
    return np.asarray(logits), np.asarray(input_gradient)


@pytest.mark.parametrize(("factory", "dtype"), [("Autocast", "bfloat16"), ("Half", "float16")])
def test_logits_in_half_precision_become_float32_and_are_noted(file, factory, dtype):
    from advbench.preflight import examine

    model = load_model(f"{file}:{factory}")
    logits, input_gradient = gradient(model.predict, X)
    true = np.asarray(load_model(f"{file}:Net").predict(X))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, true, atol=0.05)
    assert np.abs(input_gradient).max() > 0
    flags = {flag.name: flag for flag in examine(model, np.asarray(X), true.argmax(1), classes=3)}
    assert flags["low_precision"].evidence == {"dtype": dtype}


def test_more_outputs_than_classes_are_invalid_and_at_chance(file):
    from advbench.preflight import examine

    module = torch.nn.Flatten()  # 72 features, and labels that none of them stands for
    made = LoadedModel("features", pytorch.external(module, "features")[0], None, None, None, "0")
    found = {flag.name: flag for flag in examine(made, np.asarray(X), np.arange(5) % 3, classes=3)}
    assert found["extra_outputs"].level == "invalid"
    assert found["near_chance"].evidence["chance"] == 1 / 3


def test_the_doctor_sees_a_module_without_a_gradient_and_one_for_other_images(file):
    from advbench.preflight import examine

    labels = np.arange(5) % 3
    found = {flag.name: flag.level for flag in examine(load_model(f"{file}:Detached"), np.asarray(X), labels)}
    assert found["zero_gradients"] == "invalid"
    with pytest.raises(UsageError, match=r"can't be called on images .*RuntimeError"):
        examine(load_model(f"{file}:Net"), jnp.zeros((5, 6, 6, 3)), labels)


@pytest.mark.parametrize("factory", ["WholeImages", "WithOutput"])
def test_logits_of_whole_images_and_in_dataclasses_are_found(file, factory):
    plain, model = load_model(f"{file}:Net"), expecting(load_model(f"{file}:{factory}"), 3)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))


@pytest.mark.parametrize("factory", ["Sigmoid", "Pooled"])
def test_one_logit_is_that_of_the_second_of_two_classes(file, factory):
    model = expecting(load_model(f"{file}:{factory}"), 2)
    first = load_model(f"{file}:Net").predict(X)[:, 0]
    np.testing.assert_array_equal(model.predict(X), jnp.stack([jnp.zeros(len(X)), first], 1))
    through = jax.grad(lambda x: model.predict(x).sum())(X)
    np.testing.assert_array_equal(through, jax.grad(lambda x: load_model(f"{file}:Net").predict(x)[:, 0].sum())(X))


def test_an_exported_program_is_a_model(file):
    model, module = load_model(f"{file}:exported"), theirs(file)
    np.testing.assert_allclose(model.predict(X), logits(module, X), atol=1e-6)
    np.testing.assert_allclose(ours(model, X), input_gradient(module, X), atol=1e-6)
    assert model.record["evaluation mode"] == "as it was exported"
