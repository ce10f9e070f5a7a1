"""Networks whose true robust accuracy is proven; they lie beside the repository, if anywhere."""

from pathlib import Path

import jax
import numpy as np
import pytest

from advbench.models.load import LoadedModel
from advbench.models.ops import conv2d

FOLDER = Path(__file__).parents[4] / "shared" / "oracles"
PADS = ((1, 1), (1, 1))


def network(w, x):
    x = (x - w["mean"]) / w["std"]
    for layer in ("conv1", "conv2"):
        x = jax.nn.relu(conv2d(x, w[f"{layer}_kernel"], stride=2, padding=PADS) + w[f"{layer}_bias"])
    x = jax.nn.relu(x.reshape(len(x), -1) @ w["fc1_kernel"] + w["fc1_bias"])
    return x @ w["fc2_kernel"] + w["fc2_bias"]


def load_oracle(name: str) -> LoadedModel:
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no oracle networks at {FOLDER}")
    with np.load(path, allow_pickle=False) as file:
        weights = dict(file)
    images, logits = weights.pop("reference_images"), weights.pop("reference_logits")
    predict = jax.tree_util.Partial(network, jax.device_put(weights))
    np.testing.assert_allclose(predict(images), logits, atol=1e-4)
    return LoadedModel(name, predict, (28, 28, 1), 10, "mnist", name)


def load_indices(name: str) -> list[int]:
    return [int(word) for word in (FOLDER / f"{name}_test_indices.txt").read_text().split()]
