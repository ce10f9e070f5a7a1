"""A network trained elsewhere, rebuilt on our convolution, gives the logits it gave there."""

from pathlib import Path

import jax
import numpy as np
import pytest

from advbench.models.ops import conv2d

FOLDER = Path(__file__).parents[4] / "shared" / "oracles"


@pytest.mark.parametrize("name", ["mnist_wk17a", "mnist_cnn_a_adv", "cifar10_cnn_a_adv"])
def test_reference_logits_agree(name):
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no oracle networks at {FOLDER}")
    with np.load(path, allow_pickle=False) as file:
        w = dict(file)

    @jax.jit
    def predict(x):
        x = (x - w["mean"]) / w["std"]
        for layer in ("conv1", "conv2"):
            x = conv2d(x, w[f"{layer}_kernel"], stride=2, padding=((1, 1), (1, 1))) + w[f"{layer}_bias"]
            x = jax.nn.relu(x)
        x = jax.nn.relu(x.reshape(len(x), -1) @ w["fc1_kernel"] + w["fc1_bias"])
        return x @ w["fc2_kernel"] + w["fc2_bias"]

    assert (
        np.abs(predict(w["reference_images"]) - w["reference_logits"]).max()
        <= 1e-5 * np.abs(w["reference_logits"]).max()
    )
