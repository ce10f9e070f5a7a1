"""Networks whose true robust accuracy is proven, trained by others: see README.md beside this file."""

from pathlib import Path

import jax
import numpy as np
from jax import Array

from advbench.core.loaded import LoadedModel
from advbench.nn.ops import conv2d

FOLDER = Path(__file__).parent
EPS = {"mnist_wk17a": "0.1", "mnist_cnn_a_adv": "0.3", "cifar10_cnn_a_adv": "2/255"}
PADS = ((1, 1), (1, 1))


def network(w: dict[str, Array], x: Array) -> Array:
    """Logits `[B, 10]` of images `[B, H, W, C]`, by two strided convolutions and two dense layers."""
    x = (x - w["mean"]) / w["std"]
    for layer in ("conv1", "conv2"):
        x = jax.nn.relu(conv2d(x, w[f"{layer}_kernel"], stride=2, padding=PADS) + w[f"{layer}_bias"])
    x = jax.nn.relu(x.reshape(len(x), -1) @ w["fc1_kernel"] + w["fc1_bias"])
    return x @ w["fc2_kernel"] + w["fc2_bias"]


def load_arrays(name: str) -> dict[str, np.ndarray]:
    """The weights, with the images and logits that prove a port."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def load_oracle(name: str) -> LoadedModel:
    """The network as a model for its data, with the threat under which its robust accuracy is known."""
    weights = {key: a for key, a in load_arrays(name).items() if not key.startswith("reference")}
    data = name.partition("_")[0]
    shape = (28, 28, 1) if data == "mnist" else (32, 32, 3)
    record = {"threat": {"norm": "linf", "eps": EPS[name]}}
    return LoadedModel(name, jax.tree_util.Partial(network, jax.device_put(weights)), shape, 10, data, name, record)


def load_indices(name: str) -> list[int]:
    """The test images for which the bounds hold."""
    return [int(word) for word in (FOLDER / f"{name}_test_indices.txt").read_text().split()]
