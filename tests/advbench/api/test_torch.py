"""Modules and tensors of PyTorch, given as they are."""

import jax.numpy as jnp
import numpy as np
import pytest

import advbench
from advbench.models.memory import of_object

from .tiny import noise, weights

pytestmark = pytest.mark.integration(needs="torch")

SHAPE = (5, 6, 3)


@pytest.fixture(scope="module")
def net():
    """The linear classifier of `tiny`, for channels first."""
    import torch

    first = weights(SHAPE, 3).reshape(*SHAPE, 3).transpose(2, 0, 1, 3).reshape(90, 3)
    linear = torch.nn.Linear(90, 3, bias=False)
    linear.weight.data = torch.from_numpy(first.T.copy())
    return torch.nn.Sequential(torch.nn.Flatten(), linear)


def test_a_module_is_a_model_with_channels_first(net):
    images, labels = noise(SHAPE, 3)
    model = of_object(net)
    assert (np.asarray(model.predict(jnp.asarray(images / np.float32(255)))).argmax(1) == labels).all()
    assert model.digest == of_object(net).digest


def test_tensors_are_evaluated_and_attacked(net):
    import torch

    images, labels = noise(SHAPE, 3)
    x = torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2)
    settings = {"norm": "linf", "eps": 0.02}
    result = advbench.evaluate(net, (x, torch.from_numpy(labels)), attacks="fgsm", preflight=False, **settings)
    found = advbench.attack(net, x, torch.from_numpy(labels), "fgsm", **settings)
    assert isinstance(found, torch.Tensor) and found.shape == x.shape and (found - x).abs().max() <= 0.02 + 1e-6
    with torch.no_grad():
        right = net(found).argmax(1).numpy() == labels
    assert right.sum() == result.robust.correct < result.clean.correct == 12
