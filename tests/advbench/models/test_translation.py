"""PyTorch modules translated to JAX: the same logits and input gradients, or one line that says why not."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import advbench
from advbench.attacks.loop import loops_on_device
from advbench.core.external import Untranslated
from advbench.core.translated import Translated
from advbench.models.acceleration import accelerated
from advbench.models.aten import translation
from advbench.models.aten.operators import OPERATORS
from advbench.models.memory import of_object

with contextlib.suppress(ModuleNotFoundError):
    import torch
    from torch import nn
    from torch.nn import functional as F

pytestmark = pytest.mark.integration(needs="torch")

SHAPE = (3, 12, 12)


def convolutional():
    """Layers of image classifiers, one behind the other."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, groups=4, padding=1, padding_mode="reflect"),
        nn.PReLU(8),
        nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(8, 16, 3, stride=2, dilation=2, padding=2, bias=False),
        nn.GroupNorm(4, 16),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"),
        nn.Hardswish(),
        nn.ConvTranspose2d(16, 8, 3, 2, 1, 1),
        nn.InstanceNorm2d(8, affine=True),
        nn.GLU(1),
        nn.ELU(inplace=True),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.Upsample(scale_factor=1.5, mode="bilinear"),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.LocalResponseNorm(3),
        nn.AdaptiveMaxPool2d(4),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(36, 5),
        nn.Softplus(),
    )


class Transformer(nn.Module if "nn" in globals() else object):
    """Patches, positions, an encoder layer, the mean."""

    def __init__(self):
        super().__init__()
        self.patches, self.places = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, 9, 16))
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return {"logits": self.head(self.layer(self.patches(x).flatten(2).mT + self.places).mean(1)), "more": [x]}


class Functions(nn.Module if "nn" in globals() else object):
    """What modules do between layers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("which", torch.tensor([2, 0, 1]), persistent=False)
        self.mean = torch.tensor([0.4, 0.5, 0.6])  # neither parameter nor buffer

    def forward(self, x):
        x = (x - self.mean[:, None, None]) / 0.25
        y = torch.cat([x[:, self.which, ::2, 1:-1:2], -x[:, :, 1::2].roll(1, 3)[..., :5]], 1)
        y = torch.where(y > 0, y, 0.1 * y).clamp(-1, 2) + torch.minimum(y, y.flip(2)) ** 2
        y = F.pad(F.normalize(y, dim=1), (1, -1, 0, 2)) * y.std((2, 3), keepdim=True)
        a, b = y.abs().chunk(2, 1)
        y = torch.stack([a.amax((2, 3)), (b + 1e-3).sqrt().sum((2, 3)), torch.einsum("bchw,bdhw->bcd", a, b).max(2)[0]])
        return F.interpolate(y.permute(1, 0, 2)[:, None], (3, 2)).squeeze(1).log_softmax(2).reshape(len(x), -1)[:, :5]


MODULES = {"convolutional": convolutional, "transformer": Transformer, "functions": Functions}


def made(make):
    torch.manual_seed(0)
    module = make()
    for name, buffer in module.named_buffers():
        if name.endswith(("mean", "var")):
            buffer += torch.rand_like(buffer)
    return module.eval()


@pytest.mark.parametrize("kind", MODULES)
def test_logits_and_input_gradients_are_those_of_the_module(kind):
    module = made(MODULES[kind])
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = module(x.clone())
    logits = logits["logits"] if isinstance(logits, dict) else logits
    weights = torch.sin(1.0 + torch.arange(logits.numel())).reshape(logits.shape)
    (input_gradient,) = torch.autograd.grad((logits * weights).sum(), x)

    def ours(translated, x):
        found = translated(x)
        found = found["logits"] if isinstance(found, dict) else found
        return (found * weights.numpy()).sum(), found

    translated = translation(module, SHAPE)
    gradient, found = jax.jit(jax.grad(ours, 1, has_aux=True))(translated, x.detach().numpy())
    for mine, theirs in ((found, logits), (gradient, input_gradient)):
        theirs = theirs.detach().numpy()
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)
    held = {name for name, value in module.state_dict().items() if value.is_floating_point()}
    assert len(jax.tree.leaves(translated)) >= len(held)  # weights are arguments of compiled programs


def refused():
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1)) if x.sum() > 0 else -super().forward(x.flatten(1))

    class Counting(nn.Linear):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x.flatten(1))

    def with_function(function):
        class Module(nn.Linear):
            def forward(self, x):
                return super().forward(function(x).flatten(1))

        return Module(432, 5)

    return {
        "control flow": (Branching(432, 5), "torch.export refuses it: "),
        "a buffer": (Counting(432, 5), "it changes calls when it is called"),
        "noise": (with_function(lambda x: x + torch.rand_like(x)), r"unsupported operator aten\.rand"),
        "dropout": (with_function(lambda x: F.dropout(x, training=True)), r"unsupported operator aten\."),
        "batch statistics": (
            with_function(lambda x: F.batch_norm(x, None, None, training=True)),
            r"aten\._native_batch_norm_legit\.no_stats can't be run: .* statistics of the batch",
        ),
        "an operator": (with_function(torch.special.bessel_j0), r"unsupported operator aten\.special_bessel_j0"),
        "a fixed batch": (with_function(lambda x: x.reshape(2, -1)), "torch.export refuses it: "),
    }


REFUSED = ("control flow", "a buffer", "noise", "dropout", "batch statistics", "an operator", "a fixed batch")


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_fixed_function_of_pixels_is_refused_with_its_reason(kind):
    module, reason = refused()[kind]
    with pytest.raises(Untranslated, match=reason) as error:
        translation(module.eval(), SHAPE)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def small():
    return made(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 4)))


@pytest.fixture(scope="module")
def data(small):
    x = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return x.permute(0, 2, 3, 1).contiguous().numpy(), small(x).argmax(1).numpy()


def test_attacks_compute_the_translation_and_the_judge_the_module(small, data):
    settings = {"norm": "linf", "eps": 0.03, "attacks": "apgd:steps=10", "preflight": False, "doublings": 0}
    calls = []
    hook = small.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    fast = advbench.evaluate(small, data, **settings)
    hook.remove()
    itself = advbench.evaluate(small, data, **settings, translate=False)
    assert fast.model.execution.attacked == "translated"
    assert fast.model.execution.logits <= 1e-5
    assert itself.model.execution.model_dump(exclude_defaults=True) == {"attacked": "as given", "reason": "asked for"}
    assert [row.robust for row in fast.rows] == [row.robust for row in itself.rows]
    assert 0 < fast.robust.correct < fast.clean.correct == 20
    assert sum(calls) <= 1  # one gradient of the module's own, to compare with
    model = accelerated(of_object(small), data[0], pytest.fail)
    assert jax.default_backend() != "cpu" or loops_on_device(model.predict, jnp.asarray(data[0]))


def test_a_translation_that_differs_is_not_used(small, data, monkeypatch):
    monkeypatch.setitem(OPERATORS, "aten.relu", lambda x: jnp.maximum(x, -1e-3))
    told, model = [], of_object(small)
    found = accelerated(model, data[0], told.append)
    assert found.predict is model.predict
    assert told == [f"Sequential: attacked as given, not translated: {found.execution.reason}"]
    assert "logits differ by" in told[0]


def test_a_module_that_can_not_be_translated_is_attacked_as_given(data):
    told = []
    found = accelerated(of_object(refused()["noise"][0]), data[0], told.append)
    assert found.execution.attacked == "as given"
    (line,) = told
    assert line.startswith("Module: attacked as given, not translated to JAX: unsupported operator aten.rand")
    assert not isinstance(found.predict, Translated)
